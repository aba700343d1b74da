# millpond_fmt: fmt as headers only. cmeel-fmt, a build requirement, keeps its CMake configuration
# under "cmeel.prefix" of the environment; a system fmt serves a build without Python. A download is
# for machines that have neither, and is off by default: without a network it hangs for minutes.
option(MILLPOND_FETCH_FMT "Download fmt if none is installed" OFF)

set(millpond_fmt_hints "")
foreach(prefix IN LISTS CMAKE_PREFIX_PATH)
  list(APPEND millpond_fmt_hints "${prefix}/cmeel.prefix")
endforeach()
find_package(fmt CONFIG QUIET HINTS ${millpond_fmt_hints})
if(NOT fmt_FOUND)
  if(NOT MILLPOND_FETCH_FMT)
    message(FATAL_ERROR
      "fmt was not found. Install Debian's libfmt-dev or PyPI's cmeel-fmt (then add its "
      "site-packages to CMAKE_PREFIX_PATH), or configure with -DMILLPOND_FETCH_FMT=ON.")
  endif()
  include(FetchContent)
  FetchContent_Declare(fmt
    GIT_REPOSITORY https://github.com/fmtlib/fmt.git GIT_TAG 12.2.0 GIT_SHALLOW ON SYSTEM)
  FetchContent_MakeAvailable(fmt)
endif()
add_library(millpond_fmt INTERFACE)
target_link_libraries(millpond_fmt INTERFACE fmt::fmt-header-only)
