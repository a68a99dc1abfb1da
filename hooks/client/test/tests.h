#ifndef CADDIS_TESTS_H
#define CADDIS_TESTS_H

#include "rig.h"

void test_ends(void);
void test_streams(void);
void test_call(void);
void test_terminal(void);
void test_relay(void);
void test_leave(void);
void test_come(void);
void test_sensor(void);
/* `client-test generate BYTES` writes them, `client-test verify BYTES` reads exactly them: the same endless sequence. */
int helper(const char *what, const char *bytes);
uint8_t pattern(uint64_t position);

#endif
