/* A plugin's call in QuickJS: see engine.c. */
#ifndef ENGINE_H
#define ENGINE_H

#include <stdint.h>
#include "../native_client/wasm2c.h"

/*
 * QuickJS's memory is not checked at each access: all that an address of WebAssembly can reach is reserved, and what is
 * not its own ends the process. The client's memory is checked, so what wasm2c's code needs has other names here.
 */
#undef WASM_RT_MEMCHECK_SIGNAL_HANDLER
#undef WASM_RT_USE_STACK_DEPTH_COUNT
#define WASM_RT_MEMCHECK_SIGNAL_HANDLER 1
#define WASM_RT_SKIP_SIGNAL_RECOVERY 1
#define WASM_RT_USE_STACK_DEPTH_COUNT 0
#define wasm_rt_trap engine_trap
#define wasm_rt_grow_memory engine_grow_memory
#define wasm_rt_allocate_memory engine_allocate_memory
#define wasm_rt_free_memory engine_free_memory
#define wasm_rt_allocate_funcref_table engine_allocate_table
#define wasm_rt_free_funcref_table engine_free_table

struct WASM_INSTANCE(quickjs);

/* Carries out the call and ends the process; returns only where nothing of the call is done. */
void engine_run(char **arguments, char **environment, uintptr_t shift);

/* Fills QuickJS's table of functions. @param shift how far they are from where they were linked for. */
void engine_fill_table(struct WASM_INSTANCE(quickjs) *quickjs, uintptr_t shift);

/* Of calls.c. */
long send_by_orphan(long fd, const void *data, long length);

#endif
