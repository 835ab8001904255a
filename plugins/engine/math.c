/* What wasm2c's code calls of libm and of the compiler's library: WebAssembly's own instructions. */
#include <stdint.h>

/* From here on, a number has no fraction; infinite ones and those that are none too. */
static const double no_fraction = 4503599627370496.0;

double fabs(double number) { return __builtin_fabs(number); }

double copysign(double number, double sign) { return __builtin_copysign(number, sign); }

double trunc(double number) {
  if (!(fabs(number) < no_fraction)) return number;
  return copysign((double)(int64_t)number, number);
}

double floor(double number) {
  const double whole = trunc(number);
  return whole > number ? whole - 1 : whole;
}

double ceil(double number) {
  const double whole = trunc(number);
  /* Of what is between -1 and 0 it is -0. */
  return whole < number ? whole + 1 : whole;
}

/* To the nearest, and to an even one between two, as the processor rounds. */
double nearbyint(double number) {
  if (!(fabs(number) < no_fraction)) return number;
  const volatile double shifted = fabs(number) + no_fraction;
  return copysign(shifted - no_fraction, number);
}

double sqrt(double number) {
#ifdef __x86_64__
  double root;
  __asm__("sqrtsd %1, %0" : "=x"(root) : "x"(number));
  return root;
#else
  double root;
  __asm__("fsqrt %d0, %d1" : "=w"(root) : "w"(number));
  return root;
#endif
}

int __popcountdi2(int64_t bits) {
  uint64_t rest = bits;
  int count = 0;
  for (; rest != 0; rest &= rest - 1) count++;
  return count;
}
