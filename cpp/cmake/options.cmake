# millpond_options: the warnings, sanitizers and coverage flags every target of ours is built with.
add_library(millpond_options INTERFACE)
target_compile_features(millpond_options INTERFACE cxx_std_20)
target_compile_options(millpond_options INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -fvisibility=hidden)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # Holds what base/sync.hpp's macros say of who needs which lock.
  target_compile_options(millpond_options INTERFACE -Wthread-safety)
endif()
if(MILLPOND_WERROR)
  target_compile_options(millpond_options INTERFACE -Werror)
endif()
if(MILLPOND_SANITIZE)
  target_compile_options(millpond_options INTERFACE
    -fsanitize=${MILLPOND_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g)
  target_link_options(millpond_options INTERFACE -fsanitize=${MILLPOND_SANITIZE})
endif()
if(MILLPOND_COVERAGE)
  target_compile_options(millpond_options INTERFACE --coverage -fprofile-abs-path -O0 -g)
  target_link_options(millpond_options INTERFACE --coverage)
endif()
