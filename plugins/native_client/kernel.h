/* The kernel without libc: what calls.c and the engine have in common. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

/* A system call: its value, or the negated errno. */
#ifdef __x86_64__
static inline long call(long number, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long value;
  __asm__ volatile("syscall"
                   : "=a"(value)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return value;
}
#else
static inline long call(long number, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return x0;
}
#endif

#define SYSCALL(name, ...) SYSCALL_(name, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYSCALL_(name, a, b, c, d, e, f, ...) \
  call(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline int is_error(long value) { return (unsigned long)value > -4096UL; }

static inline _Noreturn void leave(int code) {
  for (;;) SYSCALL(exit_group, code);
}

/*
 * Starts a process that has this one's memory, and calls a function that does not return.
 * @param flags clone(2)'s, with CLONE_VM. @param stack where its stack begins, downwards.
 * @returns its id, or the negated errno.
 */
long start_process(long flags, void *stack, void (*begin)(void *), void *argument);

/* struct sigaction as the kernel has it. */
struct action {
  uintptr_t handler, flags, restorer, mask;
};

size_t strlen(const char *text);

#endif
