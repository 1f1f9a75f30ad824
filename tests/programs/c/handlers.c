// A library with fork handlers of its own, registered in a constructor, as some tracing and GPU libraries have.
#include <pthread.h>
#include <stddef.h>

static void (*on_fork)(int) = NULL;

void set_on_fork(void (*function)(int)) { on_fork = function; }

static void prepare(void) { if (on_fork) on_fork(0); }
static void parent(void) { if (on_fork) on_fork(1); }
static void child(void) { if (on_fork) on_fork(2); }

__attribute__((constructor)) static void begin(void) { pthread_atfork(prepare, parent, child); }
