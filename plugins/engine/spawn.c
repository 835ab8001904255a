#define _GNU_SOURCE
#include "spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include "../native_client/kernel.h"

/* What the child is given, in the memory that both have; the child's stack is behind it. */
struct child {
  const char *path;
  char **arguments, **environment;
  const int *files;
  long count, failure;
};
static const long child_bytes = 65536;

/* Gives the child its files. Copies first: one that it needs may have the number of another one. */
static long place_files(const int *files, long count) {
  int copies[16];
  if (count > 16) return -EMFILE;
  for (long index = 0; index < count; index++) {
    const long copy = SYSCALL(fcntl, files[index], F_DUPFD_CLOEXEC, count);
    if (copy < 0) return copy;
    copies[index] = copy;
  }
  for (long index = 0; index < count; index++) {
    const long done = SYSCALL(dup3, copies[index], index, 0);
    if (done < 0) return done;
  }
  return 0;
}

/* The child's whole life before the program. The parent waits, for both have one memory. */
static _Noreturn __attribute__((used)) void begin_child(struct child *child) {
  const struct action usual = {0};
  const uint64_t none = 0;
  SYSCALL(setsid, 0);
  /* All that may be ignored; SIGKILL and SIGSTOP refuse. */
  for (long number = 1; number <= 64; number++) SYSCALL(rt_sigaction, number, &usual, NULL, sizeof none);
  SYSCALL(rt_sigprocmask, 2, &none, NULL, sizeof none);
  child->failure = place_files(child->files, child->count);
  if (child->failure == 0) {
    /* Before Linux 5.9 each file's own mark does it. */
    SYSCALL(close_range, child->count, INT_MAX, 0);
    child->failure = SYSCALL(execve, child->path, child->arguments, child->environment);
  }
  for (;;) SYSCALL(exit, 127);
}

static long clone_child(struct child *child, void *stack) {
  const long flags = CLONE_VM | CLONE_VFORK | 17;
#ifdef __x86_64__
  register struct child *r8 __asm__("r8") = child;
  long value = SYS_clone;
  __asm__ volatile("syscall\n"
                   "test %%rax, %%rax\n"
                   "jnz 1f\n"
                   "xor %%ebp, %%ebp\n"
                   "mov %%r8, %%rdi\n"
                   "call begin_child\n"
                   "1:"
                   : "+a"(value)
                   : "D"(flags), "S"(stack), "d"(0), "r"(r8)
                   : "rcx", "r10", "r11", "memory");
  return value;
#else
  register long x8 __asm__("x8") = SYS_clone;
  register long x0 __asm__("x0") = flags;
  register void *x1 __asm__("x1") = stack;
  register long x2 __asm__("x2") = 0;
  register long x3 __asm__("x3") = 0;
  register long x4 __asm__("x4") = 0;
  register struct child *x5 __asm__("x5") = child;
  __asm__ volatile("svc 0\n"
                   "cbnz x0, 1f\n"
                   "mov x29, 0\n"
                   "mov x30, 0\n"
                   "mov x0, x5\n"
                   "bl begin_child\n"
                   "1:"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory");
  return x0;
#endif
}

long spawn(const char *path, char **arguments, char **environment, const int *files, long count) {
  const long anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
  const long memory = SYSCALL(mmap, NULL, child_bytes, PROT_READ | PROT_WRITE, anonymous, -1);
  if (is_error(memory)) return memory;
  struct child *child = (struct child *)memory;
  *child = (struct child){path, arguments, environment, files, count, 0};
  const long process = clone_child(child, (void *)(memory + child_bytes));
  const long failure = child->failure;
  if (process > 0 && failure < 0) SYSCALL(wait4, process, NULL, 0, NULL);
  SYSCALL(munmap, memory, child_bytes);
  return process > 0 && failure < 0 ? failure : process;
}
