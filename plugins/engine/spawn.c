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
/* What the parent is sent when it ends. */
static const long SIGCHLD_NUMBER = 17;

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
static _Noreturn void begin_child(void *argument) {
  struct child *child = argument;
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

long spawn(const char *path, char **arguments, char **environment, const int *files, long count) {
  const long anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
  const long memory = SYSCALL(mmap, NULL, child_bytes, PROT_READ | PROT_WRITE, anonymous, -1);
  if (is_error(memory)) return memory;
  struct child *child = (struct child *)memory;
  *child = (struct child){path, arguments, environment, files, count, 0};
  const long flags = CLONE_VM | CLONE_VFORK | SIGCHLD_NUMBER;
  const long process = start_process(flags, (char *)memory + child_bytes, begin_child, child);
  const long failure = child->failure;
  if (process > 0 && failure < 0) SYSCALL(wait4, process, NULL, 0, NULL);
  SYSCALL(munmap, memory, child_bytes);
  return process > 0 && failure < 0 ? failure : process;
}
