# Compiler settings and one helper per kind of target. No globs: every source is named.
include(GNUInstallDirs)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(SLUICE_GEN_DIR "${PROJECT_BINARY_DIR}/gen")
set(SLUICE_BPF_DIR "${PROJECT_BINARY_DIR}/lib/bpf")
set(SLUICE_TEST_DIR "${PROJECT_BINARY_DIR}/test-bin")
file(MAKE_DIRECTORY "${SLUICE_GEN_DIR}" "${SLUICE_BPF_DIR}" "${SLUICE_TEST_DIR}")

set(SLUICE_SANITIZE "" CACHE STRING "Sanitizers for -fsanitize=, comma separated")
option(SLUICE_FUZZ "Build libFuzzer targets (needs clang)" OFF)
option(SLUICE_COVERAGE "Instrument for gcov" OFF)

# -g1: line tables for stack traces, a third of the size and link time of -g.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g -fno-omit-frame-pointer")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g -fno-omit-frame-pointer")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
    set(CMAKE_C_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
    add_link_options(-fuse-ld=mold)
endif()
if(SLUICE_SANITIZE)
    add_compile_options(-fsanitize=${SLUICE_SANITIZE} -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${SLUICE_SANITIZE})
endif()
if(SLUICE_COVERAGE)
    add_compile_options(--coverage)
    add_link_options(--coverage)
endif()

find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(Protobuf REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(rapidcheck REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS json)
find_package(tl-expected REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(ZLIB REQUIRED)
pkg_check_modules(BPF REQUIRED IMPORTED_TARGET libbpf)
pkg_check_modules(NL REQUIRED IMPORTED_TARGET libnl-3.0 libnl-route-3.0)
pkg_check_modules(NFTABLES REQUIRED IMPORTED_TARGET libnftables)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(LDNS REQUIRED IMPORTED_TARGET ldns)
pkg_check_modules(JEMALLOC REQUIRED IMPORTED_TARGET jemalloc)
pkg_check_modules(DPDK REQUIRED IMPORTED_TARGET libdpdk)
pkg_check_modules(GRPC REQUIRED IMPORTED_TARGET grpc++)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

# Our own code is compiled with every warning as an error; generated and third-party code is not.
add_library(sluice_warnings INTERFACE)
target_compile_options(sluice_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
    $<$<COMPILE_LANGUAGE:CXX>:-Wnon-virtual-dtor> -Werror
    # The std::stable_sort of libstdc++ 12 uses a function that libstdc++ 12 deprecates; GCC keeps that to itself.
    $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-deprecated-declarations>)
if(SLUICE_FUZZ)
    # Our code tells libFuzzer what it reached; without this, inputs are made blindly.
    target_compile_options(sluice_warnings INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_include_directories(sluice_warnings INTERFACE "${PROJECT_SOURCE_DIR}")
target_include_directories(sluice_warnings SYSTEM INTERFACE "${SLUICE_GEN_DIR}")
target_compile_definitions(sluice_warnings INTERFACE SLUICE_VERSION="${PROJECT_VERSION}")

# sluice_library(NAME SRCS a.cc ... [DEPS public...] [PRIVATE_DEPS adapters...])
# A static library. PRIVATE_DEPS are the third-party libraries that only its .cc files include.
function(sluice_library name)
    cmake_parse_arguments(ARG "" "" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
    if(ARG_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "sluice_library(${name}): unknown arguments ${ARG_UNPARSED_ARGUMENTS}")
    endif()
    if(ARG_SRCS)
        add_library(${name} STATIC ${ARG_SRCS})
        target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE sluice_warnings ${ARG_PRIVATE_DEPS})
        target_include_directories(${name} PUBLIC "${PROJECT_SOURCE_DIR}")
        target_include_directories(${name} SYSTEM PUBLIC "${SLUICE_GEN_DIR}")
    else()
        add_library(${name} INTERFACE)
        target_link_libraries(${name} INTERFACE ${ARG_DEPS})
        target_include_directories(${name} INTERFACE "${PROJECT_SOURCE_DIR}")
    endif()
endfunction()

# sluice_program(NAME SRCS main.cc ... DEPS ...): an installed program in build/bin/.
function(sluice_program name)
    cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
    add_executable(${name} ${ARG_SRCS})
    target_link_libraries(${name} PRIVATE sluice_warnings ${ARG_DEPS})
    install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

# sluice_test(NAME SRCS x_test.cc ... DEPS ... [ROOT] [RANDOM] [TIMEOUT seconds])
# A GoogleTest program run by ctest under the label "unit", or "root" if it needs privileges. ctest gives a RANDOM one
# always the same seed, so that a result speaks of the change and not of luck; scripts/random-tests gives it new ones.
function(sluice_test name)
    cmake_parse_arguments(ARG "ROOT;RANDOM" "TIMEOUT" "SRCS;DEPS" ${ARGN})
    add_executable(${name} ${ARG_SRCS})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${SLUICE_TEST_DIR}")
    target_link_libraries(${name} PRIVATE sluice_warnings ${ARG_DEPS} GTest::gmock GTest::gtest_main)
    target_compile_definitions(${name} PRIVATE SLUICE_BPF_DIR="${SLUICE_BPF_DIR}"
        SLUICE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    add_test(NAME ${name} COMMAND ${name})
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 120)
    endif()
    set(label unit)
    if(ARG_ROOT)
        set(label root)
    endif()
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS ${label})
    if(ARG_RANDOM)
        set_tests_properties(${name} PROPERTIES LABELS "${label};random"
            ENVIRONMENT "RC_PARAMS=seed=1;SLUICE_SEED=1")
    endif()
    if(ARG_ROOT)
        set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
    endif()
endfunction()

# `ninja fuzzers` builds all of them; scripts/fuzz runs them.
add_custom_target(fuzzers)

# sluice_fuzz(NAME SRCS x_fuzz.cc DEPS ...): a libFuzzer program, built by the preset "fuzz" only.
function(sluice_fuzz name)
    cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
    if(NOT SLUICE_FUZZ)
        return()
    endif()
    add_executable(${name} ${ARG_SRCS})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${SLUICE_TEST_DIR}")
    target_link_libraries(${name} PRIVATE sluice_warnings ${ARG_DEPS} -fsanitize=fuzzer)
    add_dependencies(fuzzers ${name})
endfunction()

# sluice_bench(NAME SRCS x_bench.cc DEPS ...): a Google Benchmark program, not run by ctest.
function(sluice_bench name)
    cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
    add_executable(${name} ${ARG_SRCS})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${SLUICE_TEST_DIR}")
    target_link_libraries(${name} PRIVATE sluice_warnings ${ARG_DEPS} benchmark::benchmark_main)
endfunction()

# sluice_proto(NAME PROTOS a/b.proto ... [DEPS ...] [GRPC]): C++ from .proto files named relative to the
# repository's root, included as "api/.../x.pb.h"; one object per file so that ninja spreads them. With GRPC also
# the stubs of their services, "api/.../x.grpc.pb.h".
function(sluice_proto name)
    cmake_parse_arguments(ARG "GRPC" "" "PROTOS;DEPS" ${ARGN})
    set(generated "")
    foreach(proto IN LISTS ARG_PROTOS)
        string(REGEX REPLACE "\\.proto$" "" stem "${proto}")
        set(out "${SLUICE_GEN_DIR}/${stem}.pb.cc" "${SLUICE_GEN_DIR}/${stem}.pb.h")
        add_custom_command(OUTPUT ${out}
            COMMAND protobuf::protoc --cpp_out=${SLUICE_GEN_DIR} -I ${PROJECT_SOURCE_DIR} ${proto}
            WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
            DEPENDS ${PROJECT_SOURCE_DIR}/${proto} COMMENT "protoc ${proto}" VERBATIM)
        list(APPEND generated ${out})
        if(ARG_GRPC)
            set(out "${SLUICE_GEN_DIR}/${stem}.grpc.pb.cc" "${SLUICE_GEN_DIR}/${stem}.grpc.pb.h")
            add_custom_command(OUTPUT ${out}
                COMMAND protobuf::protoc --grpc_out=${SLUICE_GEN_DIR} -I ${PROJECT_SOURCE_DIR}
                    --plugin=protoc-gen-grpc=${GRPC_CPP_PLUGIN} ${proto}
                WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
                DEPENDS ${PROJECT_SOURCE_DIR}/${proto} COMMENT "grpc ${proto}" VERBATIM)
            list(APPEND generated ${out})
        endif()
    endforeach()
    add_library(${name} STATIC ${generated})
    target_compile_options(${name} PRIVATE -w)
    target_include_directories(${name} SYSTEM PUBLIC "${SLUICE_GEN_DIR}")
    target_link_libraries(${name} PUBLIC protobuf::libprotobuf ${ARG_DEPS})
    if(ARG_GRPC)
        target_link_libraries(${name} PUBLIC PkgConfig::GRPC)
    endif()
endfunction()

# bpf_object(NAME prog.bpf.c [DEFINES X=1 ...]): build/lib/bpf/NAME.o, compiled by clang-19 for
# the BPF target with BTF. Headers come from the repository, libbpf and the kernel's UAPI only.
# As the kernel is: without assumptions by type, for one address is read in words of several sizes.
find_program(BPF_CLANG NAMES clang-19 REQUIRED)
function(bpf_object name source)
    cmake_parse_arguments(ARG "" "" "DEFINES" ${ARGN})
    set(out "${SLUICE_BPF_DIR}/${name}.o")
    list(TRANSFORM ARG_DEFINES PREPEND "-D")
    add_custom_command(OUTPUT ${out}
        COMMAND ${BPF_CLANG} -target bpf -mcpu=v3 -O2 -g -std=gnu11 -fno-strict-aliasing -Wall -Wextra -Werror
                -Wno-unused-parameter -D__TARGET_ARCH_${CMAKE_SYSTEM_PROCESSOR} ${ARG_DEFINES}
                -I${PROJECT_SOURCE_DIR} -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
                -MD -MF ${out}.d -MT ${out}
                -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${out}
        DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${source} DEPFILE ${out}.d
        COMMENT "bpf ${name}" VERBATIM)
    add_custom_target(bpf_${name} ALL DEPENDS ${out})
    set_property(GLOBAL APPEND PROPERTY SLUICE_BPF_TARGETS bpf_${name})
    install(FILES ${out} DESTINATION ${CMAKE_INSTALL_LIBDIR}/sluice/bpf)
endfunction()
