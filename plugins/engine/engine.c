/*
 * Carries out a plugin's call in QuickJS, in the beginning of the full executable, where no agent has done it.
 *
 * QuickJS is WebAssembly from npm, which wasm2c makes C of. The build has evaluated the plugins in it, and saved
 * its memory (scripts/build/engine.ts): that memory is mapped, and a function in it is called. So nothing is
 * parsed, linked or evaluated at a start. The plugins reach the kernel through the few functions below.
 *
 * As in calls.c, there is no libc, and no variable: all is on the stack, or in the engine's memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include "../native_client/kernel.h"
#include "engine.h"
#include "quickjs.h"
#include "sha512.h"
#include "spawn.h"

/* WebAssembly's addresses are 32 bits, and an instruction may add 32 more. What is not mapped ends the process. */
#define RESERVED ((8l << 30) + PAGE)
/* Entries of QuickJS's table of functions: that of quickjs-wasi 3.7 has 533. */
#define MOST_FUNCTIONS 1024
#define PAGE 65536l
/*
 * Bytes of the processor's stack. How deep the plugins call is limited by QuickJS's own stack, in the engine's memory: of
 * that, a call takes a small part of what it takes of this one.
 */
#define STACK (64l << 20)
/* Pages of 64 KiB that the engine's memory may grow to. */
#define MOST_PAGES 8192

/* What the build has saved: this, then the engine's memory from the next page on. */
extern const struct image {
  uint64_t bytes;
  uint32_t stack_pointer;
} engine_image __attribute__((visibility("hidden")));
#define IMAGE_HEADER 4096l

/* Both of the modules that QuickJS imports. */
struct WASM_INSTANCE(env) {
  WASM_INSTANCE(quickjs) quickjs;
  wasm_rt_funcref_t functions[MOST_FUNCTIONS];
  /* In the engine's memory: eight doubles, and a place for a length. */
  u32 registers, length;
};
#define ENGINE struct WASM_INSTANCE(env) *engine
#define WASI_ENGINE struct WASM_INSTANCE(WASI) *engine
#define QUICKJS(name, ...) WASM_FUNCTION(quickjs, name)(&engine->quickjs, ##__VA_ARGS__)
#define HOST(name) WASM_FUNCTION(env, name)
#define SYSTEM(name) WASM_FUNCTION(WASI, name)

static void *at(ENGINE, u32 address) { return engine->quickjs.w2c_memory.data + address; }

/* An error of CNI: nothing else can be said of an engine that has stopped. */
static _Noreturn void stop(const char *why) {
  const char *parts[] = {
      "{\n    \"cniVersion\": \"1.0.0\",\n    \"code\": 999,\n    \"msg\": \"Cannot go on: the plugin's engine has stopped (",
      why,
      ")\",\n    \"details\": \"This is a bug in the plugin. Please report it with this message and the network config.\"\n}\n",
  };
  for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) {
    SYSCALL(write, 1, parts[part], strlen(parts[part]));
  }
  leave(1);
}

/* What a timer's signal does, beside ending flock(2). */
static void nothing(int number) {}

#ifdef __x86_64__
__asm__("end_signal:\n"
        "  mov $15, %eax\n"
        "  syscall\n");
extern const char end_signal[] __attribute__((visibility("hidden")));
#define END_SIGNAL ((uintptr_t)end_signal)
#define SA_RESTORER_FLAG 0x04000000ul
#else
#define END_SIGNAL 0
#define SA_RESTORER_FLAG 0ul
#endif

/* flock(2) that signals end with EINTR, again and again: the first may come before the call. */
static long flock_within(long fd, long operation, long milliseconds) {
  const long number = 14, again = 20000;
  const struct action action = {(uintptr_t)nothing, SA_RESTORER_FLAG, END_SIGNAL, 0};
  struct action before;
  const uint64_t signal = 1ul << (number - 1);
  uint64_t mask;
  /* A first value of 0 would be no timer. */
  const long first = milliseconds > 0 ? milliseconds * 1000 : 1;
  const struct itimerval timer = {{0, again}, {first / 1000000, first % 1000000}}, none = {{0}, {0}};
  SYSCALL(rt_sigaction, number, &action, &before, sizeof mask);
  SYSCALL(rt_sigprocmask, 1, &signal, &mask, sizeof mask);
  SYSCALL(setitimer, 0, &timer, NULL);
  const long value = SYSCALL(flock, fd, operation);
  SYSCALL(setitimer, 0, &none, NULL);
  SYSCALL(rt_sigprocmask, 2, &mask, NULL, sizeof mask);
  SYSCALL(rt_sigaction, number, &before, NULL, sizeof mask);
  return value;
}

/* hostCall: a system call, or a function of this file, by the registers. */
static u32 host_call(ENGINE) {
  double *registers = at(engine, engine->registers);
  long values[7];
  for (int index = 0; index < 7; index++) values[index] = (long)registers[index];
  const long *a = values + 1;
  long value;
  switch (values[0]) {
    case -1:
      value = spawn((const char *)a[0], (char **)a[1], (char **)a[2], (const int *)a[3], a[4]);
      break;
    case -2:
      value = send_by_orphan(a[0], (const void *)a[1], a[2]);
      break;
    case -3:
      value = flock_within(a[0], a[1], a[2]);
      break;
    case -4:
      sha512((const uint8_t *)a[0], a[1], (uint8_t *)a[2]);
      value = 0;
      break;
    default:
      value = call(values[0], a[0], a[1], a[2], a[3], a[4], a[5]);
  }
  registers[0] = value;
  return QUICKJS(qjs_get_undefined);
}

static u32 bytes_of(ENGINE, u32 buffer) {
  return QUICKJS(qjs_get_array_buffer, buffer, engine->length);
}

/* hostAddress: where the bytes of an ArrayBuffer are. */
static u32 host_address(ENGINE, u32 buffer) {
  const u32 bytes = bytes_of(engine, buffer);
  return QUICKJS(qjs_new_number, (double)(uintptr_t)at(engine, bytes));
}

/* hostEncode: the UTF-8 of a string, as an ArrayBuffer. */
static u32 host_encode(ENGINE, u32 text) {
  const u32 bytes = QUICKJS(qjs_get_string_len, text, engine->length);
  const u32 length = *(u32 *)at(engine, engine->length);
  const u32 buffer = QUICKJS(qjs_new_array_buffer, bytes, length);
  QUICKJS(qjs_free_cstring, bytes);
  return buffer;
}

/* hostDecode: the string of so many bytes of UTF-8, from so many on, in an ArrayBuffer. */
static u32 host_decode(ENGINE, u32 buffer, u32 offset, u32 length) {
  const u32 from = bytes_of(engine, buffer) + (u32)QUICKJS(qjs_get_float64, offset);
  const u32 bytes = QUICKJS(qjs_get_float64, length);
  return QUICKJS(qjs_new_string, from, bytes);
}

u32 HOST(host_call)(ENGINE, u32 name, u32 name_length, u32 this, u32 count, u32 arguments) {
  const u32 *values = at(engine, arguments);
  switch (*(char *)at(engine, name + 4)) {
    case 'C':
      return host_call(engine);
    case 'A':
      return host_address(engine, values[0]);
    case 'E':
      return host_encode(engine, values[0]);
    default:
      return host_decode(engine, values[0], values[1], values[2]);
  }
}

u32 HOST(host_get_timezone_offset)(ENGINE, u32 high, u32 low) { return 0; }

u32 HOST(host_interrupt)(ENGINE) { return 0; }

/* The plugins are one script: nothing is imported. */
u32 HOST(host_module_load)(ENGINE, u32 name, u32 length) { return 0; }

u32 HOST(host_module_normalize)(ENGINE, u32 base, u32 name) { return 0; }

void HOST(host_promise_rejection)(ENGINE, u32 promise, u32 reason, u32 is_handled) {
  QUICKJS(qjs_free_value, promise);
  QUICKJS(qjs_free_value, reason);
}

static void *wasi_at(WASI_ENGINE, u32 address) { return at((struct WASM_INSTANCE(env) *)engine, address); }

u32 SYSTEM(clock_time_get)(WASI_ENGINE, u32 clock, u64 precision, u32 to) {
  struct timespec time;
  SYSCALL(clock_gettime, clock == 0 ? CLOCK_REALTIME : CLOCK_MONOTONIC, &time);
  *(u64 *)wasi_at(engine, to) = (u64)time.tv_sec * 1000000000 + time.tv_nsec;
  return 0;
}

u32 SYSTEM(random_get)(WASI_ENGINE, u32 to, u32 length) {
  return SYSCALL(getrandom, wasi_at(engine, to), length, 0) == length ? 0 : EIO;
}

/* It has no files of its own. */
static const u32 bad_file = 8;
u32 SYSTEM(fd_close)(WASI_ENGINE, u32 fd) { return bad_file; }
u32 SYSTEM(fd_fdstat_get)(WASI_ENGINE, u32 fd, u32 to) { return bad_file; }
u32 SYSTEM(fd_seek)(WASI_ENGINE, u32 fd, u64 offset, u32 whence, u32 to) { return bad_file; }
u32 SYSTEM(fd_write)(WASI_ENGINE, u32 fd, u32 parts, u32 count, u32 to) { return bad_file; }

/* What wasm2c's code needs, by its names in engine.h. */

void wasm_rt_trap(wasm_rt_trap_t trap) { stop("a trap"); }

wasm_pages wasm_rt_grow_memory(wasm_rt_memory_t *memory, wasm_pages more) {
  const wasm_pages pages = memory->pages;
  if (more > MOST_PAGES - pages) return -1;
  if (SYSCALL(mprotect, memory->data + pages * PAGE, more * PAGE, PROT_READ | PROT_WRITE) < 0) return -1;
  memory->pages += more;
  memory->size = memory->pages * PAGE;
  return pages;
}

/* Its memory is there already: engine_run has mapped it. */
void wasm_rt_allocate_memory(wasm_rt_memory_t *memory, wasm_pages pages, wasm_pages most WASM_MEMORY_KIND) {}
void wasm_rt_free_memory(wasm_rt_memory_t *memory) {}

void wasm_rt_allocate_funcref_table(wasm_rt_funcref_table_t *table, u32 length, u32 most) {
  if (length > MOST_FUNCTIONS) stop("its table");
  table->size = table->max_size = length;
}

void wasm_rt_free_funcref_table(wasm_rt_funcref_table_t *table) {}

/* Maps the saved memory where there is room for more behind it. */
static u8 *map_image(size_t bytes) {
  const long room = SYSCALL(mmap, NULL, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
  if (is_error(room)) return NULL;
  const char *image = (const char *)&engine_image + IMAGE_HEADER;
  if (is_error(SYSCALL(mremap, image, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room)) ||
      is_error(SYSCALL(mprotect, room, bytes, PROT_READ | PROT_WRITE))) {
    SYSCALL(munmap, room, RESERVED);
    return NULL;
  }
  return (u8 *)room;
}

static u32 string(ENGINE, const char *text) {
  const size_t length = strlen(text);
  const u32 bytes = QUICKJS(malloc, length + 1);
  if (bytes == 0) stop("out of memory");
  __builtin_memcpy(at(engine, bytes), text, length + 1);
  const u32 value = QUICKJS(qjs_new_string, bytes, length);
  QUICKJS(free, bytes);
  return value;
}

/* A property of the global object, which the plugins' script has set. */
static u32 global(ENGINE, const char *name) {
  const size_t length = strlen(name);
  const u32 bytes = QUICKJS(malloc, length + 1);
  if (bytes == 0) stop("out of memory");
  __builtin_memcpy(at(engine, bytes), name, length + 1);
  const u32 object = QUICKJS(qjs_get_global);
  return QUICKJS(qjs_get_prop_string, object, bytes);
}

static u32 strings(ENGINE, char **texts) {
  const u32 array = QUICKJS(qjs_new_array);
  for (u32 index = 0; texts[index] != NULL; index++) {
    const u32 text = string(engine, texts[index]);
    QUICKJS(qjs_set_prop_uint32, array, index, text);
  }
  return array;
}

struct start {
  char **arguments, **environment;
  uintptr_t shift;
  u8 *data;
};

static _Noreturn __attribute__((used)) void carry_out(const struct start *start) {
  struct WASM_INSTANCE(env) memory, *engine = &memory;
  const size_t bytes = engine_image.bytes;
  engine->quickjs = (WASM_INSTANCE(quickjs)){
      .WASM_IMPORTED(env) = engine,
      .WASM_IMPORTED(WASI) = (struct WASM_INSTANCE(WASI) *)engine,
      .WASM_STACK_POINTER = engine_image.stack_pointer,
      .w2c_memory = {.data = start->data, .pages = bytes / PAGE, .max_pages = MOST_PAGES, .size = bytes},
      .WASM_FUNCTION_TABLE = {.data = engine->functions},
  };
  engine_fill_table(&engine->quickjs, start->shift);
  engine->length = QUICKJS(malloc, sizeof(u32));
  const u32 values = QUICKJS(malloc, 3 * sizeof(u32));
  if (engine->length == 0 || values == 0) stop("out of memory");
  const u32 texts[] = {
      string(engine, start->arguments[0]),
      strings(engine, start->environment),
      string(engine, start->arguments[1] == NULL ? "" : start->arguments[1]),
  };
  __builtin_memcpy(at(engine, values), texts, sizeof texts);
  engine->registers = bytes_of(engine, global(engine, "hostRegisters"));
  const u32 undefined = QUICKJS(qjs_get_undefined);
  const u32 result = QUICKJS(qjs_call, global(engine, "start"), undefined, 3, values);
  if (QUICKJS(qjs_is_exception, result)) stop("an exception");
  while (QUICKJS(qjs_is_job_pending)) {
    const s32 done = QUICKJS(qjs_execute_pending_job);
    if (done < 0) stop("an exception");
  }
  stop("nothing left to do");
}

/* Goes on with another stack. */
static _Noreturn void carry_out_on(void *stack, const struct start *start) {
#ifdef __x86_64__
  __asm__ volatile("mov %0, %%rsp\n xor %%ebp, %%ebp\n call carry_out" ::"r"(stack), "D"(start));
#else
  register const struct start *x0 __asm__("x0") = start;
  __asm__ volatile("mov sp, %0\n mov x29, 0\n mov x30, 0\n bl carry_out" ::"r"(stack), "r"(x0));
#endif
  __builtin_unreachable();
}

void engine_run(char **arguments, char **environment, uintptr_t shift) {
  const long kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const long stack = SYSCALL(mmap, NULL, STACK, PROT_READ | PROT_WRITE, kind, -1);
  if (is_error(stack)) return;
  const struct start start = {arguments, environment, shift, map_image(engine_image.bytes)};
  if (start.data == NULL) {
    SYSCALL(munmap, stack, STACK);
    return;
  }
  /* If the caller ignores it, the kernel keeps no child for whoever waits for it. */
  const long child_ended = 17;
  const struct action usual = {0};
  SYSCALL(rt_sigaction, child_ended, &usual, NULL, sizeof usual.mask);
  /* Who goes too deep ends the process, and writes to nothing else. */
  SYSCALL(mprotect, stack, PAGE, PROT_NONE);
  carry_out_on((void *)(stack + STACK), &start);
}
