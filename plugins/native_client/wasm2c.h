/*
 * The names in wasm2c's code, and what its code asks of a runtime. They differ from version to version: the build
 * defines WASM2C, the last part of the version's number.
 */
#ifndef WASM2C_H
#define WASM2C_H

#include <stdbool.h>
#include <stdint.h>

/*
 * WASM_FUNCTION: a function that a module exports, or that others import from it. WASM_INSTANCE: the type of a module's
 * state. WASM_IMPORTED: the field in it for a module that it imports from.
 */
#if WASM2C == 32
#define WASM_FUNCTION_(module, name) Z_##module##Z_##name
#define WASM_INSTANCE_(module) Z_##module##_instance_t
#define WASM_IMPORTED_(module) Z_##module##_instance
#define WASM_INSTANTIATE(module) Z_##module##_instantiate
#define WASM_STACK_POINTER w2c___stack_pointer
#define WASM_FUNCTION_TABLE w2c___indirect_function_table
#define WASI wasi_snapshot_preview1
#define WASM_MEMORY_KIND
typedef uint32_t wasm_pages;
#else
#define WASM_FUNCTION_(module, name) w2c_##module##_##name
#define WASM_INSTANCE_(module) w2c_##module
#define WASM_IMPORTED_(module) w2c_##module##_instance
#define WASM_INSTANTIATE(module) wasm2c_##module##_instantiate
#define WASM_STACK_POINTER w2c_0x5F_stack_pointer
#define WASM_FUNCTION_TABLE w2c_0x5F_indirect_function_table
#define WASI wasi__snapshot__preview1
#if WASM2C < 42
#define WASM_MEMORY_KIND , bool has_64_bits
#else
#define WASM_MEMORY_KIND , bool has_64_bits, uint32_t page_size
#endif
typedef uint64_t wasm_pages;
#endif
#define WASM_FUNCTION(module, name) WASM_FUNCTION_(module, name)
#define WASM_INSTANCE(module) WASM_INSTANCE_(module)
#define WASM_IMPORTED(module) WASM_IMPORTED_(module)

#endif
