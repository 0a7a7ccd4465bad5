/* The weight gradient of a 3x3 convolution with a border of one zero, float32, pixels before planes.

   x: (pictures, height, width, inputs), g: the output's gradient, (pictures, high, wide, outputs);
   sum: (outputs, 3, 3, inputs), added to. Four output planes meet 8 input planes at a time under
   the three taps of a kernel's row: 12 sums of 8 numbers, which stay in registers over `band` rows
   of a picture. Built without leave to reorder sums, so its bits follow from this text and from
   whether the processor has fused multiply-add. */

#include <string.h>

typedef float Eight __attribute__((vector_size(32), aligned(4)));

/* Each of these is used four times: gcc would rather load it four times, and loads are what limits. */
#ifdef __AVX__
#define KEEP(vector) __asm__("" : "+x"(vector))
#else
#define KEEP(vector)
#endif

enum { LINE = 16 }; /* floats of a cache line */

/* An odd number of cache lines for each pixel: an even one would leave half of a cache unused. */
static long pitch(long planes) { return LINE * ((planes + LINE - 1) / LINE | 1); }

static void add(float *sum, Eight left, Eight mid, Eight right, long inputs) {
    *(Eight *)sum += left;
    *(Eight *)(sum + inputs) += mid;
    *(Eight *)(sum + 2 * inputs) += right;
}

/* One row of taps, 8 input planes, 4 output planes, `rows` rows of `wide` pixels. */
static void taps(const float *x, const float *g, float *sum, long rows, long wide, long stride,
                 long x_row, long x_pixel, long g_pixel, long inputs) {
    Eight l0 = {0}, m0 = {0}, r0 = {0}, l1 = {0}, m1 = {0}, r1 = {0};
    Eight l2 = {0}, m2 = {0}, r2 = {0}, l3 = {0}, m3 = {0}, r3 = {0};
    for (long row = 0; row < rows; row++) {
        const float *at = x + row * stride * x_row;
        for (long i = 0; i < wide; i++) {
            Eight left = *(const Eight *)at, mid = *(const Eight *)(at + x_pixel);
            Eight right = *(const Eight *)(at + 2 * x_pixel);
            KEEP(left);
            KEEP(mid);
            KEEP(right);
            l0 += left * g[0], m0 += mid * g[0], r0 += right * g[0];
            l1 += left * g[1], m1 += mid * g[1], r1 += right * g[1];
            l2 += left * g[2], m2 += mid * g[2], r2 += right * g[2];
            l3 += left * g[3], m3 += mid * g[3], r3 += right * g[3];
            g += g_pixel, at += stride * x_pixel;
        }
    }
    add(sum, l0, m0, r0, inputs), add(sum + 9 * inputs, l1, m1, r1, inputs);
    add(sum + 18 * inputs, l2, m2, r2, inputs), add(sum + 27 * inputs, l3, m3, r3, inputs);
}

/* Floats of scratch that weight_gradient wants, zeros. */
long scratch_size(long height, long width, long inputs, long high, long wide, long outputs) {
    return (height + 2) * (width + 2) * pitch(inputs) + high * wide * pitch(outputs);
}

/* `inputs` a multiple of 8, `outputs` of 4. */
void weight_gradient(const float *x, const float *g, float *sum, float *scratch, long pictures,
                     long height, long width, long inputs, long outputs, long stride, long band) {
    long high = (height - 1) / stride + 1, wide = (width - 1) / stride + 1;
    long x_pixel = pitch(inputs), g_pixel = pitch(outputs), x_row = (width + 2) * x_pixel;
    float *bordered = scratch, *spread = scratch + (height + 2) * x_row;
    for (long n = 0; n < pictures; n++) {
        for (long y = 0; y < height; y++)
            for (long i = 0; i < width; i++)
                memcpy(bordered + (y + 1) * x_row + (i + 1) * x_pixel,
                       x + ((n * height + y) * width + i) * inputs, inputs * sizeof(float));
        const float *here = g + n * high * wide * outputs;
        if (g_pixel != outputs) {
            for (long i = 0; i < high * wide; i++)
                memcpy(spread + i * g_pixel, here + i * outputs, outputs * sizeof(float));
            here = spread;
        }
        for (long top = 0; top < high; top += band)
            for (long in = 0; in < inputs; in += 8)
                for (long out = 0; out < outputs; out += 4)
                    for (long tap = 0; tap < 3; tap++)
                        taps(bordered + (top * stride + tap) * x_row + in,
                             here + top * wide * g_pixel + out, sum + (out * 3 + tap) * 3 * inputs + in,
                             top + band < high ? band : high - top, wide, stride, x_row, x_pixel,
                             g_pixel, inputs);
    }
}
