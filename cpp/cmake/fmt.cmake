# millpond_fmt: fmt as headers only. cmeel-fmt, a build requirement, keeps its CMake configuration
# under "cmeel.prefix" of the environment; a system fmt serves a build without Python.
set(millpond_fmt_hints "")
foreach(prefix IN LISTS CMAKE_PREFIX_PATH)
  list(APPEND millpond_fmt_hints "${prefix}/cmeel.prefix")
endforeach()
find_package(fmt CONFIG REQUIRED HINTS ${millpond_fmt_hints})
add_library(millpond_fmt INTERFACE)
target_link_libraries(millpond_fmt INTERFACE fmt::fmt-header-only)
