/* ReLU(batch normalisation of x in training, plus a shortcut), and its gradients; float32.

   Maps are (pixels, planes), planes a multiple of 8. Pixels are gone through in blocks that a cache
   holds; what is summed over a block is added up in double precision, so that neither the number
   of pixels nor a mean far from zero costs digits. Comparisons let NaN through, as torch's do. */

#include <math.h>

typedef float Eight __attribute__((vector_size(32), aligned(4)));
typedef int Mask __attribute__((vector_size(32), aligned(4)));

enum { BLOCK = 256 };

static inline Eight get(const float *p) { return *(const Eight *)p; }
static inline void put(float *p, Eight v) { *(Eight *)p = v; }
static inline Eight where(Mask mask, Eight v) { return (Eight)((Mask)v & mask); }
static inline long least(long a, long b) { return a < b ? a : b; }

/* Sums over `pixels` of 8 planes: of x, or of (x - centre)^2. */
static Eight sum(const float *x, long pixels, long planes) {
    Eight s[4] = {{0}};
    long i = 0;
    for (; i + 4 <= pixels; i += 4)
        for (int k = 0; k < 4; k++) s[k] += get(x + (i + k) * planes);
    for (; i < pixels; i++) s[0] += get(x + i * planes);
    return (s[0] + s[1]) + (s[2] + s[3]);
}

static Eight squares(const float *x, Eight centre, long pixels, long planes) {
    Eight s[4] = {{0}};
    long i = 0;
    for (; i + 4 <= pixels; i += 4)
        for (int k = 0; k < 4; k++) {
            Eight d = get(x + (i + k) * planes) - centre;
            s[k] += d * d;
        }
    for (; i < pixels; i++) {
        Eight d = get(x + i * planes) - centre;
        s[0] += d * d;
    }
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* Each plane's mean and sum of squared distances from it: Chan et al. 1983, block by block. */
static void moments_of(const float *x, double *mean, double *square, long pixels, long planes) {
    for (long c = 0; c < planes; c++) mean[c] = square[c] = 0;
    for (long top = 0; top < pixels; top += BLOCK) {
        long n = least(BLOCK, pixels - top);
        double share = (double)n / (top + n);
        for (long c = 0; c < planes; c += 8) {
            const float *here = x + top * planes + c;
            Eight centre = sum(here, n, planes) / (float)n;
            Eight spread = squares(here, centre, n, planes);
            for (int k = 0; k < 8; k++) {
                double delta = centre[k] - mean[c + k];
                mean[c + k] += delta * share;
                square[c + k] += spread[k] + delta * delta * top * share;
            }
        }
    }
}

/* scale and shift: normalised x = x * scale + shift. moments: means, then inverse deviations. */
static void affine(const float *weight, const float *bias, const float *moments, float *scale,
                   float *shift, long planes) {
    for (long c = 0; c < planes; c++) {
        scale[c] = weight[c] * moments[planes + c];
        shift[c] = bias[c] - moments[c] * scale[c];
    }
}

/* shortcut may be null; average_*: the running ones, moved; scratch: 4 * planes doubles. */
void rectified(const float *x, const float *shortcut, const float *weight, const float *bias,
               float *average_mean, float *average_var, float *moments, float *y, double *scratch,
               long pixels, long planes, double eps, double momentum) {
    double *mean = scratch, *square = scratch + planes;
    float *scale = (float *)(scratch + 2 * planes), *shift = scale + planes;
    moments_of(x, mean, square, pixels, planes);
    for (long c = 0; c < planes; c++) {
        moments[c] = mean[c];
        moments[planes + c] = 1 / sqrt(square[c] / pixels + eps);
        average_mean[c] += momentum * (mean[c] - average_mean[c]);
        average_var[c] += momentum * (square[c] / (pixels - 1) - average_var[c]);
    }
    affine(weight, bias, moments, scale, shift, planes);
    for (long i = 0; i < pixels; i++, x += planes, y += planes)
        for (long c = 0; c < planes; c += 8) {
            Eight z = get(x + c) * get(scale + c) + get(shift + c);
            if (shortcut) z += get(shortcut + i * planes + c);
            put(y + c, where(~(z < 0), z));
        }
}

/* What ReLU lets through of a gradient: where y, or else x * scale + shift, is above zero. */
static inline Eight through(Eight grad, Eight z) { return where(~(z <= 0), grad); }

/* y and of_shortcut are null where there was no shortcut. */
void rectified_backward(const float *grad, const float *x, const float *weight, const float *bias,
                        const float *moments, const float *y, float *of_x, float *of_shortcut,
                        float *of_weight, float *of_bias, double *scratch, long pixels,
                        long planes) {
    double *total = scratch, *dot = scratch + planes;
    float *scale = (float *)(scratch + 2 * planes), *shift = scale + planes;
    const float *mean = moments, *inverse = moments + planes;
    affine(weight, bias, moments, scale, shift, planes);
    for (long c = 0; c < planes; c++) total[c] = dot[c] = 0;
    for (long top = 0; top < pixels; top += BLOCK)
        for (long c = 0; c < planes; c += 8) {
            Eight s[2] = {{0}}, d[2] = {{0}}, centre = get(mean + c);
            Eight a = get(scale + c), b = get(shift + c);
            long end = least(top + BLOCK, pixels);
            for (long i = top; i < end; i += 2)
                for (int k = 0; k < 2 && i + k < end; k++) {
                    long at = (i + k) * planes + c;
                    Eight v = get(x + at), g = through(get(grad + at), y ? get(y + at) : v * a + b);
                    if (y) put(of_shortcut + at, g);
                    s[k] += g;
                    d[k] += g * (v - centre);
                }
            for (int k = 0; k < 8; k++) {
                total[c + k] += s[0][k] + s[1][k];
                dot[c + k] += d[0][k] + d[1][k];
            }
        }
    float *level = of_bias, *slope = of_weight; /* first what x's gradient needs of them */
    for (long c = 0; c < planes; c++) {
        level[c] = total[c] / pixels;
        slope[c] = dot[c] * inverse[c] * inverse[c] / pixels;
    }
    for (long at = 0; at < pixels * planes; at += planes)
        for (long c = 0; c < planes; c += 8) {
            Eight v = get(x + at + c), a = get(scale + c);
            Eight g = y ? get(of_shortcut + at + c)
                        : through(get(grad + at + c), v * a + get(shift + c));
            g -= get(level + c) + (v - get(mean + c)) * get(slope + c);
            put(of_x + at + c, g * a);
        }
    for (long c = 0; c < planes; c++) {
        of_bias[c] = total[c];
        of_weight[c] = dot[c] * inverse[c];
    }
}
