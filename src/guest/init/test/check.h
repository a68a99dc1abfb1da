/* A test's smallest needs: counting, and a deadline for what must come. */
#ifndef CADDIS_CHECK_H
#define CADDIS_CHECK_H

#include <stdint.h>

extern int checks_passed, checks_failed;
/* Counts; on failure says where and what. Returns `ok`. */
int check_(int ok, const char *file, int line, const char *what);
#define CHECK(condition) check_((condition) != 0, __FILE__, __LINE__, #condition)

/* xorshift64*: tests repeat with the same seed (CADDIS_TEST_SEED, else 1). */
uint64_t any(void);
static inline uint64_t below(uint64_t n) { return any() % n; }

void test_frames(const char *golden);
void test_documents(void);
void test_fuzz(const char *agent);
void test_freeze(const char *agent);
void test_sessions(const char *agent);

#endif
