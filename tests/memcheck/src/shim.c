#include <stddef.h>
#include <valgrind/memcheck.h>

void shim_undefined(void *bytes, size_t len) { (void)VALGRIND_MAKE_MEM_UNDEFINED(bytes, len); }
void shim_defined(void *bytes, size_t len) { (void)VALGRIND_MAKE_MEM_DEFINED(bytes, len); }
unsigned shim_running(void) { return RUNNING_ON_VALGRIND; }
