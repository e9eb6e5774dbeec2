# baton_module(NAME DEPS ...) makes the static library baton_NAME of all .c files of the current folder but
# main.c.
# baton_program(NAME DEPS ...) makes the program NAME of main.c.
# baton_test(FILE DEPS ...) makes one cmocka program of FILE.c and adds it to ctest. All warnings and
# sanitizers are in the interface target baton_flags.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(EVENT REQUIRED IMPORTED_TARGET libevent libevent_pthreads)
pkg_check_modules(EVENT_OPENSSL REQUIRED IMPORTED_TARGET libevent_openssl)
pkg_check_modules(OPENSSL REQUIRED IMPORTED_TARGET openssl>=3.0)
pkg_check_modules(ZMQ REQUIRED IMPORTED_TARGET libzmq)
pkg_check_modules(PROTOBUFC REQUIRED IMPORTED_TARGET libprotobuf-c)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(CYAML REQUIRED IMPORTED_TARGET libcyaml)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

add_library(baton_flags INTERFACE)
target_include_directories(baton_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/common)
target_compile_definitions(baton_flags INTERFACE _GNU_SOURCE BATON_VERSION="${PROJECT_VERSION}")
target_compile_options(
    baton_flags
    INTERFACE -Wall -Wextra -Werror=switch -Werror=implicit-function-declaration
              -Werror=incompatible-pointer-types
              -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings
              -ffp-contract=off -fno-math-errno -fno-strict-aliasing -g)
if(BATON_SANITIZE STREQUAL "address")
    target_compile_options(baton_flags INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined
                                                 -fno-omit-frame-pointer)
    target_link_options(baton_flags INTERFACE -fsanitize=address,undefined)
    target_compile_definitions(baton_flags INTERFACE BATON_SANITIZER=1)
elseif(BATON_SANITIZE STREQUAL "thread")
    target_compile_options(baton_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
    target_link_options(baton_flags INTERFACE -fsanitize=thread)
    target_compile_definitions(baton_flags INTERFACE BATON_SANITIZER=1)
elseif(NOT BATON_SANITIZE STREQUAL "")
    message(FATAL_ERROR "BATON_SANITIZE is '${BATON_SANITIZE}': want address, thread or nothing")
endif()
if(BATON_FUZZ)
    # undefined leaves out numbers of files that are too large for the integer they are cast to
    target_compile_options(baton_flags INTERFACE -fsanitize=fuzzer-no-link,float-cast-overflow
                                                 -fno-sanitize-recover=float-cast-overflow)
endif()

function(baton_module name)
    cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
    list(FILTER sources EXCLUDE REGEX "/main\\.c$")
    add_library(baton_${name} STATIC ${sources})
    target_link_libraries(baton_${name} PUBLIC baton_flags ${ARG_DEPS})
endfunction()

function(baton_program name)
    cmake_parse_arguments(ARG "" "SOURCE" "DEPS" ${ARGN})
    if(NOT ARG_SOURCE)
        set(ARG_SOURCE main.c)
    endif()
    add_executable(${name} ${ARG_SOURCE})
    target_link_libraries(${name} PRIVATE baton_flags ${ARG_DEPS})
    # C even with kernels in CUDA, which need no C++ library.
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin
                                             LINKER_LANGUAGE C)
endfunction()

# baton_sanitizer_environment(TEST) gives a test, and every process that it starts, the options of the
# sanitizers' runtimes, and fails it when one reports something: also where the process is a child whose
# status the test does not look at. (What tests in Python start is looked after by tests/e2e/harness.py.)
# cmocka catches signals, so AddressSanitizer must not let it (handle_segv=2). What GCC 12 puts into
# AddressSanitizer's fake stack may lie 32 bytes beside where its own aligned stores of 64 bytes expect it
# (sample_tops and vf_load_part end so with AVX-512), so that stack is off for it.
function(baton_sanitizer_environment test)
    if(BATON_SANITIZE)
        set(fake_stack 1)
        if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND CMAKE_C_COMPILER_VERSION VERSION_LESS 14)
            set(fake_stack 0)
        endif()
        set(asan handle_segv=2:detect_leaks=1:detect_stack_use_after_return=${fake_stack})
        set(tsan suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp:print_suppressions=0)
        set(tsan ${tsan}:second_deadlock_stack=1)
        set_property(
            TEST ${test} APPEND
            PROPERTY ENVIRONMENT
                     "ASAN_OPTIONS=${asan}"
                     "UBSAN_OPTIONS=print_stacktrace=1"
                     "TSAN_OPTIONS=${tsan}")
        set_property(TEST ${test} APPEND PROPERTY FAIL_REGULAR_EXPRESSION "[A-Z]+: [A-Za-z]+Sanitizer"
                                                  ":[0-9]+:[0-9]+: runtime error:")
    endif()
endfunction()

function(baton_test file)
    cmake_parse_arguments(ARG "" "TIMEOUT" "DEPS;ARGS" ${ARGN})
    get_filename_component(folder ${CMAKE_CURRENT_SOURCE_DIR} NAME)
    set(name ${folder}_${file})
    add_executable(${name} ${file}.c)
    target_link_libraries(${name} PRIVATE baton_flags ${ARG_DEPS} cmocka)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${folder}/${file} COMMAND ${name} ${ARG_ARGS})
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 300) # for what hangs
    endif()
    set_tests_properties(${folder}/${file} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS ${folder})
    if(BATON_SANITIZE)
        math(EXPR slow "${ARG_TIMEOUT} * 5")
        set_tests_properties(${folder}/${file} PROPERTIES TIMEOUT ${slow})
    endif()
    baton_sanitizer_environment(${folder}/${file})
endfunction()
