// How a walk over a value fails: what was wrong, and the path to it. The path is put
// together only while the walk unwinds, so that a walk that succeeds pays nothing for it.
#pragma once

#include <Python.h>

#include <string>
#include <string_view>
#include <vector>

namespace millpond::bindings {

// The exception class for values that cannot be keyed: millpond.errors.KeyingError, a TypeError.
// Borrowed; never nullptr. REQUIRES: the GIL, no exception set.
[[nodiscard]] PyObject* key_error_type();

// "builtins.int" as people write it: without the module for builtins.
[[nodiscard]] std::string type_display_name(PyTypeObject* type);

// What a value that cannot be keyed was given as, and so what to do about it.
enum class KeySource {
    Argument,  // of a cached call
    Key,       // of a Cache
    Function,  // key= has returned it
};

class Failure {
  public:
    // Notes what is wrong. Always false, to be returned.
    bool set(std::string what);

    // Notes that a Python exception is already set. Always false.
    bool raised() noexcept { return false; }

    // Steps of the path, from the innermost outwards; nothing of the user's runs.
    void at_index(Py_ssize_t index);
    void at_key(PyObject* key);
    void at_attribute(std::string_view name);
    void at_member();
    // A key or value of a dict, whose key is not told.
    void at_pair();

    // What set() noted.
    [[nodiscard]] const std::string& what() const noexcept { return what_; }
    // The steps from `root` to what is wrong; a long way keeps its two ends.
    [[nodiscard]] std::string path(std::string_view root) const;

    // Makes the Python exception, unless one is set already. `root` names the argument, if it is one.
    void raise(KeySource source, std::string_view root);

  private:
    std::string what_;
    std::vector<std::string> steps_;
};

}  // namespace millpond::bindings
