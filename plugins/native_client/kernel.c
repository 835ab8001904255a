/* What the compiler and wasm2c's code call of libc. */
#include <stddef.h>

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

PLAIN size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length] != 0) length++;
  return length;
}
