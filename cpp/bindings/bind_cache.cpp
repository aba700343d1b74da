#include "bind_cache.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "hot/arguments.hpp"
#include "hot/cache_methods.hpp"
#include "hot/cache_object.hpp"
#include "hot/call_plan.hpp"
#include "hot/clock.hpp"
#include "hot/control.hpp"
#include "hot/coroutine.hpp"
#include "hot/entry_functions.hpp"
#include "hot/function_object.hpp"
#include "hot/info.hpp"
#include "hot/key_object.hpp"
#include "hot/loaded.hpp"
#include "hot/negative.hpp"
#include "millpond/base/error.hpp"
#include "millpond/base/size.hpp"
#include "millpond/base/template.hpp"

namespace millpond::bindings {
namespace {

// A life in nanoseconds as an int, None for no limit: how Python reads the options of a decorator.
pybind11::object life_nanos(const pybind11::object& given, const char* option) {
    Nanos life{0};
    if (!read_life(given.ptr(), option, life)) {
        throw pybind11::error_already_set();
    }
    return life == kForEver ? pybind11::object(pybind11::none()) : pybind11::int_(life.count());
}

std::uint64_t size_bytes(const std::string& text, const std::string& option) {
    try {
        return parse_size(text);
    } catch (const Error& error) {
        throw Error(error.code(), option + ": " + error.what());
    }
}

// What nobody can be given, a user's own error where the caller has its value: to sys.unraisablehook.
void report_unraisable(const pybind11::object& error, const pybind11::object& source) {
    raise_again(error.inc_ref().ptr());
    PyErr_WriteUnraisable(source.ptr());
}

std::uint64_t hash_tag(const pybind11::str& text) { return tag_hash(text.ptr()); }

pybind11::object name_generation(const std::string& kind, const pybind11::str& text) {
    if (kind.size() != 1) {
        throw Error(ErrorCode::InvalidArgument, "kind: one letter");
    }
    PyObject* const name = generation_name(kind.c_str(), text.ptr());
    if (name == nullptr) {
        throw pybind11::error_already_set();
    }
    return pybind11::reinterpret_steal<pybind11::object>(name);
}

// A template over argument names as a tuple of text and places of names.
pybind11::tuple template_parts(const std::string& source, const std::vector<std::string>& names) {
    const Template parsed = Template::parse(source, names);
    pybind11::list parts;
    for (const Template::Piece& piece : parsed.pieces()) {
        if (!piece.literal.empty()) {
            parts.append(piece.literal);
        }
        parts.append(piece.argument);
    }
    if (!parsed.tail().empty() || parsed.pieces().empty()) {
        parts.append(parsed.tail());
    }
    return pybind11::tuple(parts);
}

// Gives a subclass of CacheBase method descriptors of its own for what it does not define itself.
// The interpreter's fast way to call one (PEP 659) wants an instance of the very class that the
// descriptor belongs to; an inherited one costs 15 ns more a call.
void own_methods(const pybind11::type& cls) {
    const auto own = pybind11::reinterpret_borrow<pybind11::object>(cls.attr("__dict__"));
    auto* const type = reinterpret_cast<PyTypeObject*>(cls.ptr());
    for (PyMethodDef* each = cache_method_table(); each->ml_name != nullptr; ++each) {
        if (own.contains(each->ml_name)) {
            continue;
        }
        const Ref descriptor(PyDescr_NewMethod(type, each));
        if (!descriptor || PyObject_SetAttrString(cls.ptr(), each->ml_name, descriptor.get()) < 0) {
            throw pybind11::error_already_set();
        }
    }
}

}  // namespace

void bind_cache(pybind11::module_& m) {
    int (*const parts[])(PyObject*) = {
        init_info,  init_manual_clock, init_key_object, init_negative, init_call_plan,
        init_cache, init_control,      init_entries,    init_loaded,   init_function};
    for (const auto init : parts) {
        if (init(m.ptr()) < 0) {
            throw pybind11::error_already_set();
        }
    }
    m.def("own_methods", &own_methods, pybind11::arg("cls"), pybind11::pos_only(),
          "Makes the methods that a subclass of CacheBase inherits its own.");
    m.def("life_nanos", &life_nanos);
    m.def("parse_size", &size_bytes);
    m.def("parse_template", &template_parts);
    m.def("source_id", &source_id);
    m.def("report_unraisable", &report_unraisable);
    m.def("generation_name", &name_generation);
    m.def("tag_hash", &hash_tag);
}

}  // namespace millpond::bindings
