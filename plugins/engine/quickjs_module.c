/*
 * QuickJS as wasm2c gives it, and the one thing that only its own file can do. Apart from engine.c, because
 * it takes half a minute to compile, and seldom changes.
 */
#include "engine.h"
#include "quickjs.c"

void engine_fill_table(WASM_INSTANCE(quickjs) *quickjs, uintptr_t shift) {
  init_tables(quickjs);
  wasm_rt_funcref_table_t *table = &quickjs->WASM_FUNCTION_TABLE;
  for (u32 at = 0; at < table->size; at++) {
    wasm_rt_funcref_t *entry = table->data + at;
    if (entry->func == NULL) continue;
    entry->func = (wasm_rt_function_ptr_t)((uintptr_t)entry->func + shift);
#if WASM2C > 32
    /* A type is an address there, and a number before. */
    entry->func_type += shift;
#endif
  }
}
