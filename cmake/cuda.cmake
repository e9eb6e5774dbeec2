# Whether the backend `cuda` is built. BATON_CUDA: AUTO (when a toolkit is found), ON (an error without one),
# OFF. Sets BATON_HAS_CUDA. Builds with sanitizers leave it out: they run the same sources under the host
# emulation (tests/cuda_host).
set(BATON_CUDA AUTO CACHE STRING "build the backend cuda: AUTO, ON or OFF")
set_property(CACHE BATON_CUDA PROPERTY STRINGS AUTO ON OFF)
set(BATON_CUDA_ARCHS "80;90" CACHE STRING "compute capabilities to compile the kernels for")

set(BATON_HAS_CUDA OFF)
if(BATON_SANITIZE AND BATON_CUDA STREQUAL "ON")
    message(FATAL_ERROR
        "BATON_CUDA=ON with BATON_SANITIZE=${BATON_SANITIZE}: the GPU's libraries have no sanitizers")
endif()
if(NOT BATON_CUDA STREQUAL "OFF" AND NOT BATON_SANITIZE)
    include(CheckLanguage)
    # The toolkit's own place is seldom on PATH. (CMAKE_CUDA_COMPILER and CUDACXX come first, as always.)
    if(NOT CMAKE_CUDA_COMPILER AND "$ENV{CUDACXX}" STREQUAL "")
        find_program(BATON_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin
                     DOC "compiler of the CUDA toolkit")
        if(BATON_NVCC)
            set(ENV{CUDACXX} ${BATON_NVCC}) # check_language tries it
        endif()
    endif()
    set(CMAKE_CUDA_ARCHITECTURES ${BATON_CUDA_ARCHS})
    set(ENV{CUDAARCHS} "${BATON_CUDA_ARCHS}") # check_language tries these: a toolkit may be too old for them
    if(NOT CMAKE_CUDA_COMPILER)
        unset(CMAKE_CUDA_COMPILER CACHE) # an earlier look that failed: the toolkit may be there by now
    endif()
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
        enable_language(CUDA)
        # The kernels are optimised in every configuration.
        foreach(config DEBUG RELEASE RELWITHDEBINFO MINSIZEREL)
            set(CMAKE_CUDA_FLAGS_${config} "")
        endforeach()
        find_package(CUDAToolkit 12)
        # Only its header: the library is opened when it is wanted. BATON_CUBLASLT_INCLUDE: its folder, where
        # the toolkit has none.
        find_path(BATON_CUBLASLT_INCLUDE cublasLt.h HINTS ${CUDAToolkit_INCLUDE_DIRS}
                  DOC "folder of cublasLt.h")
    endif()
    if(CMAKE_CUDA_COMPILER AND TARGET CUDA::cudart_static AND BATON_CUBLASLT_INCLUDE)
        set(BATON_HAS_CUDA ON)
    elseif(BATON_CUDA STREQUAL "ON")
        message(FATAL_ERROR
                "BATON_CUDA=ON, but no CUDA toolkit was found: want version 12 or newer with an nvcc that "
                "compiles for ${BATON_CUDA_ARCHS} (BATON_CUDA_ARCHS), cudart_static, and cublasLt.h "
                "(BATON_CUBLASLT_INCLUDE). What nvcc said: "
                "${CMAKE_BINARY_DIR}/CMakeFiles/CMakeError.log")
    endif()
endif()
message(STATUS "Backend cuda: ${BATON_HAS_CUDA}")
