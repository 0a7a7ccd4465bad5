"""Which layers a network has, as numbers: the paper's designs. No torch.

cifar       3×3 conv | three stages of n blocks of two 3×3 layers; 6n+2 layers (Sec. 4.2)
bottleneck  the same with blocks of three layers; 9n+2 (footnote 4)
imagenet    7×7 conv of stride 2, 3×3 max pool of stride 2 | four stages (Table 1): blocks of two
            layers up to 34 layers, bottlenecks beyond

A linear layer ends each of them. A bottleneck is a 1×1 layer down to its width, a 3×3 layer, and a
1×1 layer up to four times its width; where the map shrinks, the first of them has the stride, or
the second (`model.stride_in_1x1`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from degradation.config.validation import ConfigError

IMAGENET = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STAGES = 3  # of the designs for CIFAR-10
EXPANSION = 4  # of a bottleneck


@dataclass(frozen=True)
class Unit:
    """One block."""

    name: str
    """stage2_0: the first block of the second stage."""
    inputs: int
    width: int
    """Filters of its 3×3 layers."""
    outputs: int
    stride: int

    @property
    def is_bottleneck(self) -> bool:
        return self.outputs != self.width


def units(design: str, depth: int, width: int) -> Iterator[Unit]:
    """The blocks in order, `width` being that of the first stage.

    Raises ConfigError for the depth.
    """
    bottleneck = is_bottleneck(design, depth)
    inputs = width
    for stage, blocks in enumerate(stages(design, depth)):
        inner = width * 2**stage
        outputs = EXPANSION * inner if bottleneck else inner
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            yield Unit(f"stage{stage + 1}_{block}", inputs, inner, outputs, stride)
            inputs = outputs


def is_bottleneck(design: str, depth: int) -> bool:
    return design == "bottleneck" or (design == "imagenet" and depth >= 50)


def stages(design: str, depth: int) -> tuple[int, ...]:
    """The blocks of each stage. Raises ConfigError for a depth that the design doesn't have."""
    if design == "imagenet":
        if depth not in IMAGENET:
            known = ", ".join(map(str, IMAGENET))
            raise ConfigError(f"depth={depth}: must be one of {known} on ImageNet (Table 1)")
        return IMAGENET[depth]
    layers = 9 if design == "bottleneck" else 6
    return (blocks_per_stage(depth, layers),) * STAGES


def blocks_per_stage(depth: int, layers: int = 6) -> int:
    """n of depth = layers·n + 2. Raises ConfigError."""
    least = layers + 2
    if depth < least or (depth - 2) % layers:
        below = max(least, depth - (depth - 2) % layers)
        near = f"nearest {least}" if depth < least else f"nearest {below} and {below + layers}"
        some = ", ".join(str(layers * n + 2) for n in (1, 2, 3, 5, 7, 9, 18, 200))
        raise ConfigError(f"depth={depth}: must be {layers}n+2 ({some}, …); {near}")
    return (depth - 2) // layers
