/*
 * Hands client.ts's calls on to the kernel: each is one call of libc, with addresses in the client's memory.
 * The names are those that wasm2c gives to what client.ts declares.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "client.h"

#define CALL(name) Z_clientZ_##name
#define CALLS struct Z_client_instance_t *calls

static Z_client_instance_t client;
static char **arguments;
static void (*old_sigpipe)(int);

static void *at(u32 address) { return client.w2c_memory.data + address; }

/* A value, or the negated errno. */
static u32 result(long value) { return value < 0 ? -errno : value; }

static u32 copy(const char *text, u32 to, u32 room) {
  if (text == NULL) return -1;
  size_t length = strnlen(text, INT_MAX);
  if (room > 0) {
    size_t part = length < room ? length : room - 1;
    memcpy(at(to), text, part);
    *(char *)at(to + part) = 0;
  }
  return length;
}

u32 CALL(argument)(CALLS, u32 index, u32 to, u32 room) { return copy(arguments[index], to, room); }

u32 CALL(variable)(CALLS, u32 index, u32 to, u32 room) { return copy(environ[index], to, room); }

void CALL(buildId)(CALLS, u32 to) { memcpy(at(to), BUILD_ID, strlen(BUILD_ID)); }

u32 CALL(isOpen)(CALLS, u32 fd) { return fcntl(fd, F_GETFD) >= 0; }

u32 CALL(connectTo)(CALLS, u32 path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, at(path), sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  u32 failure = result(-1);
  close(fd);
  return failure;
}

static struct ucred peer(int fd) {
  struct ucred credentials = {.pid = -1, .uid = -1, .gid = -1};
  socklen_t length = sizeof credentials;
  getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length);
  return credentials;
}

u32 CALL(peerUser)(CALLS, u32 fd) { return peer(fd).uid; }

u32 CALL(peerProcess)(CALLS, u32 fd) { return peer(fd).pid; }

u32 CALL(openFile)(CALLS, u32 path) {
  return result(open(at(path), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

u32 CALL(memoryFile)(CALLS) { return result(memfd_create("stderr", MFD_CLOEXEC)); }

void CALL(rewind)(CALLS, u32 fd) { lseek(fd, 0, SEEK_SET); }

void CALL(closeFile)(CALLS, u32 fd) { close(fd); }

u32 CALL(readInto)(CALLS, u32 fd, u32 to, u32 length) { return result(read(fd, at(to), length)); }

u32 CALL(writeFrom)(CALLS, u32 fd, u32 from, u32 length) { return result(write(fd, at(from), length)); }

u32 CALL(sendFrom)(CALLS, u32 fd, u32 from, u32 length, u32 first, u32 second) {
  int passed[] = {first, second};
  size_t count = (int)first < 0 ? 0 : (int)second < 0 ? 1 : 2;
  union {
    char bytes[CMSG_SPACE(sizeof passed)];
    struct cmsghdr header;
  } control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  struct iovec vector = {.iov_base = at(from), .iov_len = length};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (count > 0) {
    control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(&control.header), passed, count * sizeof(int));
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
  }
  return result(sendmsg(fd, &message, MSG_NOSIGNAL));
}

u32 CALL(wait)(CALLS, u32 fd, u32 events, u32 timeout) {
  struct pollfd entry = {.fd = fd, .events = events};
  return poll(&entry, 1, timeout) > 0 ? entry.revents : 0;
}

u64 CALL(now)(CALLS) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (u64)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

void CALL(killProcess)(CALLS, u32 process) { kill(process, SIGKILL); }

void CALL(leave)(CALLS, u32 code) { _exit(code); }

u32 CALL(execute)(CALLS, u32 file, u32 more, u32 stdin_fd) {
  char path[PATH_MAX + NAME_MAX];
  char *name = at(file);
  char *one_more[] = {arguments[0], at(more), NULL};
  ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
  if (length < 0) return result(-1);
  path[length] = 0;
  char *own_name = strrchr(path, '/') + 1;
  /* Only a copy of this file by the wrong name would execute itself, for ever. */
  if (strcmp(own_name, name) == 0) return -ELOOP;
  strcpy(own_name, name);
  if ((int)stdin_fd >= 0 && dup2(stdin_fd, STDIN_FILENO) < 0) return result(-1);
  signal(SIGPIPE, old_sigpipe);
  execve(path, more == 0 ? arguments : one_more, environ);
  return result(-1);
}

/* What the code that wasm2c makes needs of its runtime. */

u32 wasm_rt_call_stack_depth;

bool wasm_rt_is_initialized(void) { return true; }

void wasm_rt_trap(wasm_rt_trap_t code) { abort(); }

u32 wasm_rt_register_func_type(u32 parameters, u32 results, ...) { return 1; }

void wasm_rt_allocate_memory(wasm_rt_memory_t *memory, u32 pages, u32 most) {
  *memory = (wasm_rt_memory_t){.pages = pages, .max_pages = most, .size = pages << 16};
  memory->data = calloc(memory->size, 1);
  if (memory->data == NULL) abort();
}

u32 wasm_rt_grow_memory(wasm_rt_memory_t *memory, u32 more) {
  u32 pages = memory->pages;
  void *data = more > memory->max_pages - pages ? NULL : realloc(memory->data, (size_t)(pages + more) << 16);
  if (data == NULL) return -1;
  memory->data = data;
  memory->pages += more;
  memory->size = memory->pages << 16;
  return pages;
}

void wasm_rt_free_memory(wasm_rt_memory_t *memory) {}

int main(int count, char **values) {
  /* A caller may give no name at all. */
  static char *nameless[] = {"", NULL};
  arguments = count > 0 ? values : nameless;
  old_sigpipe = signal(SIGPIPE, SIG_IGN);
  Z_client_init_module();
  Z_client_instantiate(&client, NULL);
  Z_clientZ_run(&client);
  return 1;
}
