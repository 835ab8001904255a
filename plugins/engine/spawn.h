/* Starting a child without libc: see spawn.c. */
#ifndef SPAWN_H
#define SPAWN_H

/*
 * Starts a child in a session of its own. @param files its descriptors: 0 is the first, and so on; it has no other.
 * @returns its process id, or the negated errno, also of execve(2).
 */
long spawn(const char *path, char **arguments, char **environment, const int *files, long count);

#endif
