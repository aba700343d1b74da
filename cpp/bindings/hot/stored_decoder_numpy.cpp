// Part of StoredDecoder: numpy's arrays and scalars.
#include <Python.h>

#include <cstdint>

#include "hot/interned.hpp"
#include "hot/stored_decoder.hpp"

namespace millpond::bindings {
namespace {

constexpr Py_ssize_t kMostDimensions = 64;

// Without numpy there is no such value to give back.
Ref numpy() { return Ref(PyImport_ImportModule("numpy")); }

bool as_size(PyObject* number, std::size_t& size) {
    const Py_ssize_t value = PyLong_AsSsize_t(number);
    if (value < 0) {
        PyErr_Clear();
        return false;
    }
    size = static_cast<std::size_t>(value);
    return true;
}

}  // namespace

// A dtype of plain bytes, from the form that was stored.
Ref StoredDecoder::numpy_type(std::size_t& item_size) {
    const Ref form = value();
    if (!form) return {};
    if (!PyUnicode_CheckExact(form.get()) && !PyList_CheckExact(form.get())) return damaged();
    const Ref module = numpy();
    if (!module) {
        if (PyErr_ExceptionMatches(PyExc_ImportError) == 0) return {};
        PyErr_Clear();
        return unknown();
    }
    Ref dtype = made(call_method<"dtype">(module.get(), form.get()).release());
    if (!dtype) return {};
    const Ref objects = attribute_of<"hasobject">(dtype.get());
    const Ref size = objects ? attribute_of<"itemsize">(dtype.get()) : Ref();
    if (!size) return {};
    if (objects.get() != Py_False || !as_size(size.get(), item_size) || item_size == 0) {
        return damaged();
    }
    return dtype;
}

// The bytes of all elements. False if they are more than there are, or the shape is none.
bool StoredDecoder::shape_bytes(PyObject* shape, std::size_t item_size, std::size_t& size) {
    if (!PyTuple_CheckExact(shape) || PyTuple_GET_SIZE(shape) > kMostDimensions) return false;
    bool is_empty = false;
    bool fits = item_size <= left();
    size = item_size;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(shape); ++i) {
        PyObject* const length = PyTuple_GET_ITEM(shape, i);
        std::size_t number = 0;
        if (!PyLong_CheckExact(length) || !as_size(length, number)) return false;
        is_empty = is_empty || number == 0;
        fits = fits && (number == 0 || size <= left() / number);
        if (fits) size *= number;
    }
    if (is_empty) size = 0;
    return is_empty || fits;
}

Ref StoredDecoder::numpy_array() {
    const Level level(*this);
    const std::uint8_t* const order = take(1);
    if (!level || order == nullptr || (*order != 'C' && *order != 'F')) return damaged();
    std::size_t item_size = 0;
    const Ref dtype = numpy_type(item_size);
    const Ref shape = dtype ? value() : Ref();
    if (!shape) return {};
    const std::uint8_t* const gap = take(1);
    if (gap == nullptr || *gap > 7 || take(*gap) == nullptr) return damaged();
    std::size_t size = 0;
    if (!shape_bytes(shape.get(), item_size, size)) return damaged();
    const std::uint8_t* const data = take(size);

    // First as a view of the bytes that were read, which are not to be written to. numpy wants
    // some bytes even for no elements.
    const auto* const base = reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(owner_));
    const Ref module = numpy();
    if (!module) return {};
    const bool is_empty = size == 0;
    PyObject* const order_name = *order == 'F' ? interned<"F">() : interned<"C">();
    const Ref offset(PyLong_FromSsize_t(is_empty ? 0 : data - base));
    if (order_name == nullptr || !offset) return {};
    Ref view = made(
        is_empty
            ? call_method<"empty">(module.get(), shape.get(), dtype.get(), order_name).release()
            : call_method<"ndarray">(module.get(), shape.get(), dtype.get(), owner_, offset.get(),
                                     Py_None, order_name)
                  .release());
    if (!view) return {};
    const Ref alignment = attribute_of<"alignment">(dtype.get());
    std::size_t align = 0;
    if (!alignment || !as_size(alignment.get(), align) || align == 0) return {};
    // A view keeps all that was read alive, so it has to be worth that.
    const bool is_worth_it = size >= static_cast<std::size_t>(end_ - begin_) / 2;
    if (readonly_ && is_worth_it && reinterpret_cast<std::uintptr_t>(data) % align == 0) {
        return view;
    }
    Ref copy = call_method<"copy">(view.get(), interned<"K">());
    if (copy && readonly_) {
        const Ref flags = attribute_of<"flags">(copy.get());
        if (!flags || set_attribute<"writeable">(flags.get(), Py_False) != 0) return {};
    }
    return copy;
}

Ref StoredDecoder::numpy_scalar() {
    const Level level(*this);
    if (!level) return damaged();
    std::size_t item_size = 0;
    const Ref dtype = numpy_type(item_size);
    if (!dtype) return {};
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
    if (!run(data, size) || size != item_size) return damaged();
    const Ref bytes(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(data),
                                              static_cast<Py_ssize_t>(size)));
    const Ref module = numpy();
    if (!bytes || !module) return {};
    const Ref one =
        made(call_method<"frombuffer">(module.get(), bytes.get(), dtype.get()).release());
    const Ref zero(PyLong_FromLong(0));
    return one && zero ? Ref(PyObject_GetItem(one.get(), zero.get())) : Ref();
}

}  // namespace millpond::bindings
