#ifndef SHA512_H
#define SHA512_H

#include <stddef.h>
#include <stdint.h>

/* The 64 bytes of the SHA-512 of data (FIPS 180-4). */
void sha512(const uint8_t *data, size_t length, uint8_t *digest);

#endif
