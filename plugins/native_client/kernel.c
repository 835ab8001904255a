/* What the compiler and wasm2c's code call of libc, and another process. */
#include "kernel.h"

/* They must not become calls of themselves. */
#define PLAIN __attribute__((optimize("no-tree-loop-distribute-patterns")))

#ifdef __x86_64__
void *memcpy(void *restrict to, const void *restrict from, size_t length) {
  void *at = to;
  __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(length)::"memory");
  return to;
}

void *memset(void *to, int value, size_t length) {
  void *at = to;
  __asm__ volatile("rep stosb" : "+D"(at), "+c"(length) : "a"(value) : "memory");
  return to;
}
#else
PLAIN void *memcpy(void *restrict to, const void *restrict from, size_t length) {
  for (size_t at = 0; at < length; at++) ((char *)to)[at] = ((const char *)from)[at];
  return to;
}

PLAIN void *memset(void *to, int value, size_t length) {
  for (size_t at = 0; at < length; at++) ((char *)to)[at] = value;
  return to;
}
#endif

PLAIN void *memmove(void *to, const void *from, size_t length) {
  if (to <= from) return memcpy(to, from, length);
  while (length-- > 0) ((char *)to)[length] = ((const char *)from)[length];
  return to;
}

PLAIN int memcmp(const void *one, const void *other, size_t length) {
  const unsigned char *left = one, *right = other;
  for (size_t at = 0; at < length; at++) {
    if (left[at] != right[at]) return left[at] - right[at];
  }
  return 0;
}

PLAIN size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length] != 0) length++;
  return length;
}

long start_process(long flags, void *stack, void (*begin)(void *), void *argument) {
#ifdef __x86_64__
  register void *r8 __asm__("r8") = argument;
  register void (*r9)(void *) __asm__("r9") = begin;
  long value = SYS_clone;
  __asm__ volatile("syscall\n"
                   "test %%rax, %%rax\n"
                   "jnz 1f\n"
                   "xor %%ebp, %%ebp\n"
                   "mov %%r8, %%rdi\n"
                   "call *%%r9\n"
                   "1:"
                   : "+a"(value)
                   : "D"(flags), "S"(stack), "d"(0), "r"(r8), "r"(r9)
                   : "rcx", "r10", "r11", "memory");
  return value;
#else
  register long x8 __asm__("x8") = SYS_clone;
  register long x0 __asm__("x0") = flags;
  register void *x1 __asm__("x1") = stack;
  register long x2 __asm__("x2") = 0;
  register long x3 __asm__("x3") = 0;
  register long x4 __asm__("x4") = 0;
  register void *x5 __asm__("x5") = argument;
  register void (*x6)(void *) __asm__("x6") = begin;
  __asm__ volatile("svc 0\n"
                   "cbnz x0, 1f\n"
                   "mov x29, 0\n"
                   "mov x30, 0\n"
                   "mov x0, x5\n"
                   "blr x6\n"
                   "1:"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x6)
                   : "memory");
  return x0;
#endif
}
