#include "hot/redis_lookup.hpp"

#include <algorithm>
#include <charconv>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "hot/heap_type.hpp"
#include "millpond/base/resp.hpp"

namespace millpond::bindings {
namespace {

// The texts of a sequence of str. False with an exception set.
bool read_texts(PyObject* given, Ref& owner, std::vector<std::string_view>& texts) {
    owner = Ref(PySequence_Tuple(given));
    if (!owner) {
        return false;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(owner.get()); ++i) {
        Py_ssize_t size = 0;
        const char* const text = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(owner.get(), i), &size);
        if (text == nullptr) {
            return false;
        }
        texts.emplace_back(text, static_cast<std::size_t>(size));
    }
    return true;
}

void add_number(std::string& out, char kind, std::size_t number) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
    out.push_back(kind);
    out.append(digits, end);
    out.append("\r\n");
}

void add_string(std::string& out, std::string_view before, std::string_view text,
                std::string_view after) {
    add_number(out, '$', before.size() + text.size() + after.size());
    out.append(before).append(text).append(after).append("\r\n");
}

// redis_lookup(keys, names, guards, stamps)
PyObject* redis_lookup(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 4 || PyBytes_Check(args[2]) == 0 || PyBytes_Check(args[3]) == 0) {
        PyErr_SetString(PyExc_TypeError, "redis_lookup() takes keys, names and two prefixes");
        return nullptr;
    }
    try {
        Ref key_owner, name_owner;
        std::vector<std::string_view> keys, names;
        if (!read_texts(args[0], key_owner, keys) || !read_texts(args[1], name_owner, names)) {
            return nullptr;
        }
        const std::string_view guards(PyBytes_AS_STRING(args[2]),
                                      static_cast<std::size_t>(PyBytes_GET_SIZE(args[2])));
        const std::string_view stamps(PyBytes_AS_STRING(args[3]),
                                      static_cast<std::size_t>(PyBytes_GET_SIZE(args[3])));
        std::string out;
        out.reserve((keys.size() * 2 + names.size() + 1) * 96);
        add_number(out, '*', 1 + 2 * keys.size() + names.size());
        add_string(out, {}, "MGET", {});
        for (const std::string_view key : keys) {
            add_string(out, guards, key, "}");
        }
        for (const std::string_view key : keys) {
            add_string(out, {}, key, {});
        }
        for (const std::string_view name : names) {
            add_string(out, stamps, name, {});
        }
        return PyBytes_FromStringAndSize(out.data(), static_cast<Py_ssize_t>(out.size()));
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
}

// A whole number, sent as text. Null without an exception for anything else.
Ref whole(PyObject* item) {
    if (PyBytes_CheckExact(item) == 0 || PyBytes_GET_SIZE(item) > 20) {
        return Ref();
    }
    const std::string_view text(PyBytes_AS_STRING(item),
                                static_cast<std::size_t>(PyBytes_GET_SIZE(item)));
    const std::string_view digits = text.substr(text.starts_with('-') ? 1 : 0);
    if (digits.empty() ||
        !std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; })) {
        return Ref();
    }
    return Ref(PyLong_FromString(PyBytes_AS_STRING(item), nullptr, 10));
}

// The items from `first` on, made by `make`, which gives null for what there should not be.
template <class Make>
Ref part(PyObject* reply, Py_ssize_t first, Py_ssize_t count, Make make) {
    Ref list(PyList_New(count));
    for (Py_ssize_t i = 0; list && i < count; ++i) {
        Ref item = make(PyList_GET_ITEM(reply, first + i));
        if (!item) {
            return Ref();
        }
        PyList_SET_ITEM(list.get(), i, item.release());
    }
    return list;
}

// redis_found(reply, keys, names)
PyObject* redis_found(PyObject*, PyObject* const* args, Py_ssize_t count) {
    const Py_ssize_t keys = count == 3 ? PyLong_AsSsize_t(args[1]) : -1;
    const Py_ssize_t names = keys >= 0 ? PyLong_AsSsize_t(args[2]) : -1;
    if (names < 0) {
        if (PyErr_Occurred() == nullptr) {
            PyErr_SetString(PyExc_TypeError, "redis_found() takes a reply and two counts");
        }
        return nullptr;
    }
    if (PyList_CheckExact(args[0]) == 0 || PyList_GET_SIZE(args[0]) != 2 * keys + names) {
        Py_RETURN_NONE;
    }
    const Ref zero(PyLong_FromLong(0));
    const Ref guards = part(args[0], 0, keys, [&](PyObject* item) {
        return item == Py_None ? Ref::share(zero.get()) : whole(item);
    });
    const Ref data = guards ? part(args[0], keys, keys,
                                   [](PyObject* item) {
                                       const bool fits =
                                           item == Py_None || PyBytes_CheckExact(item) != 0;
                                       return fits ? Ref::share(item) : Ref();
                                   })
                            : Ref();
    const Ref stamps =
        data ? part(args[0], 2 * keys, names,
                    [](PyObject* item) { return item == Py_None ? Ref::share(item) : whole(item); })
             : Ref();
    if (!stamps) {
        return PyErr_Occurred() != nullptr ? nullptr : Py_NewRef(Py_None);
    }
    return PyTuple_Pack(3, data.get(), guards.get(), stamps.get());
}

// redis_strings(data, at, most)
PyObject* redis_strings(PyObject*, PyObject* const* args, Py_ssize_t count) {
    const Py_ssize_t from = count == 3 ? PyLong_AsSsize_t(args[1]) : -1;
    const Py_ssize_t most = from >= 0 ? PyLong_AsSsize_t(args[2]) : -1;
    if (most < 0 || PyBytes_CheckExact(args[0]) == 0) {
        if (PyErr_Occurred() == nullptr) {
            PyErr_SetString(PyExc_TypeError, "redis_strings() takes bytes, a place and a number");
        }
        return nullptr;
    }
    const std::span<const std::byte> data = std::as_bytes(
        std::span(PyBytes_AS_STRING(args[0]), static_cast<std::size_t>(PyBytes_GET_SIZE(args[0]))));
    auto at = static_cast<std::size_t>(from);
    Ref strings(PyList_New(0));
    RespString found;
    while (strings && PyList_GET_SIZE(strings.get()) < most && read_resp_string(data, at, found)) {
        const Ref one(found.null ? Py_NewRef(Py_None)
                                 : PyBytes_FromStringAndSize(
                                       reinterpret_cast<const char*>(found.bytes.data()),
                                       static_cast<Py_ssize_t>(found.bytes.size())));
        if (!one || PyList_Append(strings.get(), one.get()) < 0) {
            return nullptr;
        }
    }
    return strings ? Py_BuildValue("(On)", strings.get(), static_cast<Py_ssize_t>(at)) : nullptr;
}

PyMethodDef g_functions[] = {
    method(
        "redis_lookup", redis_lookup, METH_FASTCALL,
        "redis_lookup($module, keys, names, guards, stamps, /)\n--\n\n"
        "MGET of the guards and entries of keys, and of the stamps of generations, packed; their\n"
        "keys begin with `guards` (and end with a brace) and `stamps`."),
    method(
        "redis_found", redis_found, METH_FASTCALL,
        "redis_found($module, reply, keys, names, /)\n--\n\n"
        "The entries, guards (0: none) and stamps in the reply to it, for so many keys and names;\n"
        "None if it is no such reply."),
    method(
        "redis_strings", redis_strings, METH_FASTCALL,
        "redis_strings($module, data, at, most, /)\n--\n\n"
        "Up to so many strings that begin at a place of a reply, None for the null one, and the\n"
        "place behind them: at what has not wholly arrived, or is no string."),
    {},
};

}  // namespace

int init_redis_lookup(PyObject* module) { return PyModule_AddFunctions(module, g_functions); }

}  // namespace millpond::bindings
