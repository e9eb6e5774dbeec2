#include "tests/conformance/rig.h"
int main(void) { return 0; }
