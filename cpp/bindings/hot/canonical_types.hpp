// How a type is keyed: worked out once per type from its name, its bases and its attributes, and
// remembered as long as the type does not change. Recognising a type imports nothing and runs
// nothing of the user's.
#pragma once

#include <Python.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "hot/heap_type.hpp"

namespace millpond::bindings {

enum class Kind : std::uint8_t {
    Opaque,  // by hash and ==
    // Builtins that may be subclassed.
    Str,
    Int,
    Float,
    Dict,
    List,
    Tuple,
    Bytes,
    ByteArray,
    Set,
    FrozenSet,
    Complex,
    OrderedDict,
    // The standard library's.
    Deque,
    Date,
    Time,
    DateTime,
    TimeDelta,
    TimeZone,
    ZoneInfo,
    Uuid,
    Path,
    Decimal,
    Fraction,
    Array,
    // By their fields.
    Enum,
    Dataclass,
    NamedTuple,
    Pydantic,
    // numpy's.
    NdArray,
    NumpyScalar,
};

struct TypeName {
    std::string module;
    std::string qualname;
};

// The names a type is known by, in UTF-8 (code units of lone surrogates included).
// Runs nothing of the user's. REQUIRES: the GIL.
[[nodiscard]] TypeName type_name(PyTypeObject* type);

struct TypeInfo {
    Kind kind = Kind::Opaque;
    bool subclass = false;    // of the type that `kind` stands for: its name counts
    bool local = false;       // made inside a function: others may have the same name
    std::string name;         // "module:qualname"
    std::vector<Ref> fields;  // field names (str), in order
    std::vector<Ref> slots;   // member descriptors of __slots__, for subclasses
};

// What is known of `type`; null with an exception set. Costs nanoseconds when remembered.
// REQUIRES: the GIL.
[[nodiscard]] std::shared_ptr<const TypeInfo> type_info(PyTypeObject* type);

// The class that its names lead to in the modules imported so far, else null without an exception.
// Borrowed. Runs nothing of the user's. REQUIRES: the GIL.
[[nodiscard]] PyTypeObject* find_class(const TypeName& name);

// Whether the class is what its names lead to in the modules imported so far, as pickle asks.
// Runs nothing of the user's. REQUIRES: the GIL.
[[nodiscard]] bool is_importable(PyTypeObject* type, const TypeName& name);

// The module if it was imported already, else null without an exception. Borrowed.
[[nodiscard]] PyObject* imported_module(const char* name);

// `module.name` if it is a type and the module was imported already, else null without an
// exception. Borrowed.
[[nodiscard]] PyTypeObject* known_type(const char* module_name, const char* name);

// A numpy dtype as numpy writes it down, with all of its fields if it has `names`.
[[nodiscard]] Ref dtype_form(PyObject* dtype, PyObject* names);

// An attribute that may be missing: null without an exception then. May run the user's code.
// `failed` tells that an exception is set, which it is already if `name` is null.
[[nodiscard]] Ref optional_attribute(PyObject* object, PyObject* name, bool& failed);

}  // namespace millpond::bindings
