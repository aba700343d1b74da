// Part of Walker: values that are not exact builtins. They are keyed by what their type is known
// as (canonical_types.hpp): by content, by fields, or as opaque leaves.
#pragma once

#include "hot/canonical_walker.hpp"
#include "hot/interned.hpp"

namespace millpond::bindings {

template <typename Sink>
bool Walker<Sink>::other(PyObject* object) {
    const std::shared_ptr<const TypeInfo> info = type_info(Py_TYPE(object));
    if (!info) return false;
    if (info->kind == Kind::Opaque) return opaque(object);
    const Level level(*this, object);
    if (!level) return false;
    // Attributes may run the user's code; holding costs next to nothing beside reading them.
    hold();
    return described(object, *info);
}

template <typename Sink>
bool Walker<Sink>::described(PyObject* object, const TypeInfo& info) {
    switch (info.kind) {
        case Kind::Enum: return enumeration(object, info);
        case Kind::Dataclass: return dataclass(object, info);
        case Kind::NamedTuple: return named_tuple(object, info);
        case Kind::Pydantic: return pydantic(object, info);
        case Kind::NdArray: return ndarray(object);
        case Kind::NumpyScalar: return numpy_scalar(object);
        default: return info.subclass ? subclass(object, info) : content(object, info);
    }
}

template <typename Sink>
bool Walker<Sink>::content(PyObject* object, const TypeInfo& info) {
    return info.kind <= Kind::OrderedDict ? builtin_content(object, info.kind)
                                          : library_content(object, info.kind);
}

// By its hash here, and by == among the leaves afterwards.
template <typename Sink>
bool Walker<Sink>::opaque(PyObject* object) {
    PyTypeObject* const type = Py_TYPE(object);
    if constexpr (!Sink::kInProcess) {
        return failure_.set(
            "a " + type_display_name(type) +
            " is known by its hash and == only, which mean nothing in other processes");
    } else {
        if (type->tp_hash == PyObject_HashNotImplemented || type->tp_hash == nullptr) {
            return failure_.set("a " + type_display_name(type) +
                                " is neither hashable nor of a type with a canonical form");
        }
        hold();
        Ref kept = Ref::share(object);
        const Py_hash_t hash = PyObject_Hash(object);
        if (hash == -1) return false;
        sink_.word(Tag::Opaque, static_cast<std::uint64_t>(hash));
        leaves_.push_back(std::move(kept));
        return true;
    }
}

template <typename Sink>
void Walker<Sink>::name(const TypeInfo& info, PyObject* object) {
    sink_.bytes(Tag::Str, info.name.data(), info.name.size());
    if constexpr (Sink::kInProcess) {
        // Two calls of the function that makes it make two classes of one name.
        if (info.local) leaves_.push_back(Ref::share(reinterpret_cast<PyObject*>(Py_TYPE(object))));
    }
}

// One attribute by name; Unset if the object has none.
template <typename Sink>
template <Literal attribute_name>
bool Walker<Sink>::attribute(PyObject* object) {
    bool failed = false;
    const Ref held = optional_attribute(object, interned<attribute_name>(), failed);
    if (failed) return false;
    if (!held) {
        sink_.unit(Tag::Unset);
        return true;
    }
    if (value(held.get())) return true;
    failure_.at_attribute(attribute_name.text);
    return false;
}

template <typename Sink>
bool Walker<Sink>::field(PyObject* object, PyObject* field_name) {
    Ref held(PyObject_GetAttr(object, field_name));
    if (!held) {
        if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) return false;
        PyErr_Clear();
        sink_.unit(Tag::Unset);
        return true;
    }
    if (value(held.get())) return true;
    std::string text;
    append_text(field_name, text);
    failure_.at_attribute(text);
    return false;
}

template <typename Sink>
bool Walker<Sink>::enumeration(PyObject* object, const TypeInfo& info) {
    sink_.unit(Tag::Enum);
    name(info, object);
    bool failed = false;
    const Ref member = optional_attribute(object, interned<"_name_">(), failed);
    if (failed) return false;
    // Members of a Flag put together have a value, and not always a name.
    if (member && PyUnicode_CheckExact(member.get())) return value(member.get());
    return attribute<"_value_">(object);
}

template <typename Sink>
bool Walker<Sink>::dataclass(PyObject* object, const TypeInfo& info) {
    sink_.open(Tag::Record, info.fields.size());
    name(info, object);
    for (const Ref& each : info.fields) {
        sink_.text(each.get());
        if (!field(object, each.get())) return false;
    }
    return true;
}

template <typename Sink>
bool Walker<Sink>::named_tuple(PyObject* object, const TypeInfo& info) {
    sink_.open(Tag::NamedTuple, info.fields.size());
    name(info, object);
    for (const Ref& each : info.fields) sink_.text(each.get());
    return tuple(object);
}

// Fields in the order of the class, each with whether it was set; then the extra ones.
template <typename Sink>
bool Walker<Sink>::pydantic(PyObject* object, const TypeInfo& info) {
    bool failed = false;
    const Ref given = optional_attribute(object, interned<"__pydantic_fields_set__">(), failed);
    if (failed) return false;
    const Ref values = optional_attribute(object, interned<"__dict__">(), failed);
    if (failed) return false;
    sink_.open(Tag::Pydantic, info.fields.size());
    name(info, object);
    for (const Ref& each : info.fields) {
        sink_.text(each.get());
        const int set =
            given && PyAnySet_Check(given.get()) != 0 ? PySet_Contains(given.get(), each.get()) : 0;
        if (set < 0) return false;
        sink_.unit(set != 0 ? Tag::True : Tag::False);
        const bool in_dict = values && PyDict_CheckExact(values.get());
        const Ref held =
            Ref::share(in_dict ? PyDict_GetItemWithError(values.get(), each.get()) : nullptr);
        if (PyErr_Occurred() != nullptr) return false;
        if (!held) {
            sink_.unit(Tag::Unset);
        } else if (!value(held.get())) {
            std::string text;
            append_text(each.get(), text);
            failure_.at_attribute(text);
            return false;
        }
    }
    return attribute<"__pydantic_extra__">(object);
}

// The type, the content of the builtin it extends, then what instances hold beside it.
template <typename Sink>
bool Walker<Sink>::subclass(PyObject* object, const TypeInfo& info) {
    sink_.open(Tag::Subclass, info.slots.size());
    name(info, object);
    if (!content(object, info)) return false;
    for (const Ref& slot : info.slots) {
        auto* const owner = reinterpret_cast<PyObject*>(Py_TYPE(object));
        const Ref held(Py_TYPE(slot.get())->tp_descr_get(slot.get(), object, owner));
        if (!held) {
            if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) return false;
            PyErr_Clear();
            sink_.unit(Tag::Unset);
        } else if (!value(held.get())) {
            failure_.at_attribute(PyDescr_NAME(slot.get()) == nullptr
                                      ? "a slot"
                                      : PyUnicode_AsUTF8(PyDescr_NAME(slot.get())));
            return false;
        }
    }
    const Ref state(PyObject_GenericGetDict(object, nullptr));
    if (!state) {
        PyErr_Clear();
        sink_.unit(Tag::Unset);
        return true;
    }
    if (dict(state.get(), false)) return true;
    failure_.at_attribute("__dict__");
    return false;
}

}  // namespace millpond::bindings
