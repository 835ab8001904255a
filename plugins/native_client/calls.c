/*
 * Hands client.ts's calls on to the kernel, each with addresses in the client's memory, and starts the client.
 * The names are those that wasm2c gives to what client.ts declares: see wasm2c.h.
 *
 * There is no libc: the client is a small executable of its own, or, with GO_ON_AT, the beginning of the full
 * executable. There it runs before that one's own first instruction, at GO_ON_AT, and leaves no trace if
 * it goes on. So it has no variables of its own: all that it writes to is its stack and its memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include "client.h"
#include "kernel.h"
#include "wasm2c.h"

#define CALL(name) WASM_FUNCTION(client, name)
#define CALLS struct WASM_INSTANCE(client) *calls

struct process {
  /* The first, so that its address is this one's. */
  WASM_INSTANCE(client) client;
  char **arguments, **environment;
  struct action old_sigpipe;
  void *stack, *at_exit;
};

static struct process *process_of(CALLS) { return (struct process *)calls; }

static void *address(CALLS, u32 at) { return calls->w2c_memory.data + at; }

/*
 * Behind the first instructions, shared/runtime/orphan_bun.ts finds send_by_orphan: by these letters, and by how
 * far the function is from them.
 */
#ifdef GO_ON_AT
#define ORPHAN_SENDER \
  "  .balign 16\n" \
  "0:\n" \
  "  .ascii \"orphan 1\"\n" \
  "  .quad send_by_orphan - 0b\n"
#else
#define ORPHAN_SENDER
#endif

#ifdef __x86_64__
/* The kernel, or the dynamic linker, has put the arguments on the stack, and a function for exit(3) into rdx. */
__asm__(".globl _start\n"
        "_start:\n"
        "  xor %ebp, %ebp\n"
        "  mov %rsp, %rdi\n"
        "  mov %rdx, %rsi\n"
        "  and $-16, %rsp\n"
        "  call start\n" ORPHAN_SENDER);

static _Noreturn void jump(uintptr_t to, void *stack, void *at_exit) {
  __asm__ volatile("mov %1, %%rsp\n xor %%ebp, %%ebp\n jmp *%0" ::"r"(to), "r"(stack), "d"(at_exit));
  __builtin_unreachable();
}
#else
/* The same with a function for exit(3) in x0. */
__asm__(".globl _start\n"
        "_start:\n"
        "  mov x29, 0\n"
        "  mov x30, 0\n"
        "  mov x1, x0\n"
        "  mov x0, sp\n"
        "  bl start\n" ORPHAN_SENDER);

static _Noreturn void jump(uintptr_t to, void *stack, void *at_exit) {
  register void *x0 __asm__("x0") = at_exit;
  __asm__ volatile("mov sp, %1\n mov x29, 0\n mov x30, 0\n br %0" ::"r"(to), "r"(stack), "r"(x0));
  __builtin_unreachable();
}
#endif

static u32 copy(CALLS, const char *text, u32 to, u32 room) {
  if (text == NULL) return -1;
  size_t length = strlen(text);
  if (length > INT_MAX) length = INT_MAX;
  if (room > 0) {
    size_t part = length < room ? length : room - 1;
    memcpy(address(calls, to), text, part);
    *(char *)address(calls, to + part) = 0;
  }
  return length;
}

u32 CALL(argument)(CALLS, u32 index, u32 to, u32 room) {
  return copy(calls, process_of(calls)->arguments[index], to, room);
}

u32 CALL(variable)(CALLS, u32 index, u32 to, u32 room) {
  return copy(calls, process_of(calls)->environment[index], to, room);
}

void CALL(buildId)(CALLS, u32 to) { memcpy(address(calls, to), BUILD_ID, sizeof BUILD_ID - 1); }

u32 CALL(isOpen)(CALLS, u32 fd) { return SYSCALL(fcntl, fd, F_GETFD) >= 0; }

u32 CALL(connectTo)(CALLS, u32 path) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  size_t length = strlen(address(calls, path));
  if (length >= sizeof name.sun_path) return -ENAMETOOLONG;
  memcpy(name.sun_path, address(calls, path), length);
  long fd = SYSCALL(socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  long failure = fd < 0 ? fd : SYSCALL(connect, fd, &name, sizeof name);
  if (failure == 0) return fd;
  SYSCALL(close, fd);
  return failure;
}

static struct ucred peer(u32 fd) {
  struct ucred credentials = {.pid = -1, .uid = -1, .gid = -1};
  socklen_t length = sizeof credentials;
  SYSCALL(getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length);
  return credentials;
}

u32 CALL(peerUser)(CALLS, u32 fd) { return peer(fd).uid; }

u32 CALL(peerProcess)(CALLS, u32 fd) { return peer(fd).pid; }

u32 CALL(openFile)(CALLS, u32 path) {
  return SYSCALL(openat, AT_FDCWD, address(calls, path), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

u32 CALL(memoryFile)(CALLS) { return SYSCALL(memfd_create, "stderr", MFD_CLOEXEC); }

void CALL(rewind)(CALLS, u32 fd) { SYSCALL(lseek, fd, 0, SEEK_SET); }

void CALL(closeFile)(CALLS, u32 fd) { SYSCALL(close, (int)fd); }

u32 CALL(readInto)(CALLS, u32 fd, u32 to, u32 length) {
  return SYSCALL(read, fd, address(calls, to), length);
}

u32 CALL(writeFrom)(CALLS, u32 fd, u32 from, u32 length) {
  return SYSCALL(write, fd, address(calls, from), length);
}

u32 CALL(sendFrom)(CALLS, u32 fd, u32 from, u32 length, u32 first, u32 second) {
  int passed[] = {first, second};
  size_t count = (int)first < 0 ? 0 : (int)second < 0 ? 1 : 2;
  union {
    char bytes[CMSG_SPACE(sizeof passed)];
    struct cmsghdr header;
  } control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  struct iovec vector = {.iov_base = address(calls, from), .iov_len = length};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (count > 0) {
    control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(&control.header), passed, count * sizeof(int));
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
  }
  return SYSCALL(sendmsg, fd, &message, MSG_NOSIGNAL);
}

u32 CALL(wait)(CALLS, u32 fd, u32 events, u32 timeout) {
  struct pollfd entry = {.fd = fd, .events = events};
  struct timespec time = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000};
  return SYSCALL(ppoll, &entry, 1, (int)timeout < 0 ? NULL : &time, NULL) > 0 ? entry.revents : 0;
}

u64 CALL(now)(CALLS) {
  struct timespec time;
  SYSCALL(clock_gettime, CLOCK_MONOTONIC, &time);
  return (u64)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

void CALL(killProcess)(CALLS, u32 process) {
  const long SIGKILL_NUMBER = 9;
  SYSCALL(kill, (int)process, SIGKILL_NUMBER);
}

void CALL(leave)(CALLS, u32 code) { leave(code); }

static long set_sigpipe(const struct action *wanted, struct action *before) {
  const long SIGPIPE_NUMBER = 13;
  return SYSCALL(rt_sigaction, SIGPIPE_NUMBER, wanted, before, sizeof wanted->mask);
}

/* Ends what the client has changed of its process. */
static long restore(struct process *process, int stdin_fd) {
  set_sigpipe(&process->old_sigpipe, NULL);
  return stdin_fd < 0 ? 0 : SYSCALL(dup3, stdin_fd, 0, 0);
}

#ifdef GO_ON_AT
/* What an orphan has to send, in memory of its own: its stack is behind it. */
struct letter {
  long fd, length;
  char data[4096];
};
static const long letter_bytes = 16384;

/* Until a file is closed by which there is nothing to send. The kernel has freed deleted rules by then. */
static const struct timespec keeping = {.tv_nsec = 40000000};

/* The whole life of an orphan. Its files are copies: who reads this process's stdout must not wait for it. */
static _Noreturn void orphan(void *argument) {
  const struct letter *letter = argument;
  if (letter->fd > 0) SYSCALL(close_range, 0, letter->fd - 1, 0);
  SYSCALL(close_range, letter->fd + 1, INT_MAX, 0);
  if (letter->length > 0) SYSCALL(sendto, letter->fd, letter->data, letter->length, 0, NULL);
  else SYSCALL(nanosleep, &keeping, NULL);
  for (;;) SYSCALL(exit, 0);
}

/*
 * Sends by a socket, or closes it later if there is nothing to send, from another process, which has this one's
 * memory, but is not waited for: not by this process's end, as a thread would be. Returns a process id, or a
 * negative errno if nothing will be sent or closed.
 */
__attribute__((used)) long send_by_orphan(long fd, const void *data, long length) {
  const long anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
  if (length < 0 || (size_t)length > sizeof ((struct letter *)0)->data) return -EMSGSIZE;
  const long memory = SYSCALL(mmap, NULL, letter_bytes, PROT_READ | PROT_WRITE, anonymous, -1);
  if (is_error(memory)) return memory;
  struct letter *letter = (struct letter *)memory;
  letter->fd = fd;
  letter->length = length;
  memcpy(letter->data, data, length);
  /* CLONE_VM, and no signal for the parent when it ends. */
  return start_process(0x100, (char *)memory + letter_bytes, orphan, letter);
}

void engine_run(char **arguments, char **environment, uintptr_t shift);

static bool is_same(const char *text, const char *other) {
  while (*text == *other && *text != 0) text++, other++;
  return *text == *other;
}

static bool starts_with(const char *text, const char *start) {
  while (*start != 0 && *text == *start) text++, start++;
  return *start == 0;
}

/* A call of a plugin by a runtime, as the engine carries it out: no argument but what the client gives. */
static bool is_plain_call(char **arguments, char **environment) {
  static const char plugins[][16] = {PLUGINS};
  const char *name = arguments[0];
  for (const char *at = name; *at != 0; at++) {
    if (*at == '/') name = at + 1;
  }
  if (arguments[1] != NULL && (arguments[2] != NULL || !starts_with(arguments[1], "--agent-"))) return false;
  /* A file that is opened must not become one of these. */
  for (int fd = 0; fd < 3; fd++) {
    if (SYSCALL(fcntl, fd, F_GETFD) < 0) return false;
  }
  for (char **variable = environment; *variable != NULL; variable++) {
    if (is_same(*variable, "FLANNEL_CNI_ENGINE=off")) return false;
  }
  for (size_t index = 0; index < sizeof plugins / sizeof *plugins; index++) {
    if (is_same(name, plugins[index])) return true;
  }
  return false;
}
#endif

void CALL(goOnHere)(CALLS, u32 stdin_fd) {
#ifdef GO_ON_AT
  struct process *process = process_of(calls);
  if (restore(process, stdin_fd) < 0) return;
  SYSCALL(close, (int)stdin_fd);
  SYSCALL(munmap, calls->w2c_memory.data, calls->w2c_memory.size);
  /* The executable may be somewhere else than it was linked for. */
  extern const char _start[] __attribute__((visibility("hidden")));
  uintptr_t linked;
#ifdef __x86_64__
  __asm__("movabs $_start, %0" : "=r"(linked));
#else
  __asm__("ldr %0, =_start" : "=r"(linked));
#endif
  const uintptr_t shift = (uintptr_t)_start - linked;
  if (is_plain_call(process->arguments, process->environment)) {
    const struct action ignore = {.handler = 1};
    set_sigpipe(&ignore, NULL);
    engine_run(process->arguments, process->environment, shift);
    set_sigpipe(&process->old_sigpipe, NULL);
  }
  jump(GO_ON_AT + shift, process->stack, process->at_exit);
#endif
}

u32 CALL(execute)(CALLS, u32 file, u32 more, u32 stdin_fd) {
  struct process *process = process_of(calls);
  char path[PATH_MAX + NAME_MAX] = "/proc/self/exe";
  char *one_more[] = {process->arguments[0], address(calls, more), NULL};
#ifndef GO_ON_AT
  const char *name = address(calls, file);
  long length = SYSCALL(readlinkat, AT_FDCWD, "/proc/self/exe", path, PATH_MAX - 1);
  if (length < 0) return length;
  path[length] = 0;
  while (path[length - 1] != '/') length--;
  /* Only a copy of this file by the wrong name would execute itself, for ever. */
  size_t same = 0;
  while (path[length + same] == name[same] && name[same] != 0) same++;
  if (path[length + same] == name[same]) return -ELOOP;
  memcpy(path + length, name, strlen(name) + 1);
#endif
  long failure = restore(process, stdin_fd);
  if (failure < 0) return failure;
  return SYSCALL(execve, path, more == 0 ? process->arguments : one_more, process->environment);
}

/* What the code that wasm2c makes needs of its runtime. */

bool wasm_rt_is_initialized(void) { return true; }

void wasm_rt_trap(wasm_rt_trap_t code) { leave(134); }

void wasm_rt_allocate_memory(wasm_rt_memory_t *memory, wasm_pages pages, wasm_pages most WASM_MEMORY_KIND) {
  *memory = (wasm_rt_memory_t){.pages = pages, .max_pages = most, .size = pages << 16};
  const long anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
  /* Six arguments, of which call() has five: the last one, the offset, is 0. */
  memory->data = (void *)SYSCALL(mmap, NULL, memory->size, PROT_READ | PROT_WRITE, anonymous, -1);
  if (is_error((long)memory->data)) leave(134);
}

wasm_pages wasm_rt_grow_memory(wasm_rt_memory_t *memory, wasm_pages more) {
  const wasm_pages pages = memory->pages;
  if (more > memory->max_pages - pages) return -1;
  const size_t size = (size_t)(pages + more) << 16;
  const long data = SYSCALL(mremap, memory->data, memory->size, size, MREMAP_MAYMOVE);
  if (is_error(data)) return -1;
  memory->data = (void *)data;
  memory->pages += more;
  memory->size = memory->pages << 16;
  return pages;
}

void wasm_rt_free_memory(wasm_rt_memory_t *memory) {}

_Noreturn __attribute__((used)) void start(void **stack, void *at_exit) {
  /* A caller may give no name at all. */
  char *nameless[] = {"", NULL};
  const size_t count = (size_t)stack[0];
  char **values = (char **)stack + 1;
  const struct action ignore = {.handler = 1};
  struct process process = {
      .arguments = count > 0 ? values : nameless,
      .environment = values + count + 1,
      .stack = stack,
      .at_exit = at_exit,
  };
  set_sigpipe(&ignore, &process.old_sigpipe);
  WASM_INSTANTIATE(client)(&process.client, &process.client);
  CALL(run)(&process.client);
  leave(1);
}
