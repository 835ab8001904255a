/* The engine's memory as the build has saved it (scripts/build/engine.ts), a page for its header first. */
  .section .image, "a"
  .globl engine_image
  .hidden engine_image
  .balign 65536
engine_image:
  .incbin IMAGE
  .balign 65536
  .section .note.GNU-stack, "", %progbits
