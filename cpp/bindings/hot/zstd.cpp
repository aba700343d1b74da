#include "hot/zstd.hpp"

#include <memory>
#include <new>

#include "hot/entry_head.hpp"
#include "millpond/base/zstd.hpp"

namespace millpond::bindings {
namespace {

ZstdDecoder* decoder() noexcept {
    thread_local const std::unique_ptr<ZstdDecoder> mine(new (std::nothrow) ZstdDecoder);
    return mine.get();
}

// unpack_zstd(packed, size)
PyObject* unpack_function(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "unpack_zstd() takes a frame and a size");
        return nullptr;
    }
    std::span<const std::byte> frame;
    const Py_ssize_t size = PyLong_AsSsize_t(args[1]);
    if ((size < 0 && PyErr_Occurred() != nullptr) || !entry_bytes(args[0], frame)) {
        return nullptr;
    }
    Ref content = size < 0 ? Ref() : unpack_zstd(frame, static_cast<std::size_t>(size));
    if (!content && PyErr_Occurred() == nullptr) {
        Py_RETURN_NONE;
    }
    return content.release();
}

PyMethodDef g_functions[] = {
    method("unpack_zstd", unpack_function, METH_FASTCALL,
           "unpack_zstd($module, frame, size, /)\n--\n\n"
           "The content of one zstd frame, if that states that it has exactly `size` bytes and "
           "has;\n"
           "None for any other, and for what the engine does not read: dictionaries, checksums."),
    {},
};

}  // namespace

Ref unpack_zstd(std::span<const std::byte> frame, std::size_t size) noexcept {
    if (!ZstdDecoder::states(frame, size)) {
        return Ref();  // Before anything is allocated by what is merely claimed.
    }
    ZstdDecoder* const ours = decoder();
    if (ours == nullptr) {
        PyErr_NoMemory();
        return Ref();
    }
    Ref content(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
    if (content && !ours->decode(frame, std::as_writable_bytes(
                                            std::span(PyBytes_AS_STRING(content.get()), size)))) {
        content = Ref();
    }
    return content;
}

int init_zstd(PyObject* module) {
    if (PyModule_AddIntConstant(module, "SMALL_CONTENT", static_cast<long>(kSmallContent)) != 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, g_functions);
}

}  // namespace millpond::bindings
