// Cache.dump() and Cache.restore(): the entries whose key and value are bytes, as a snapshot of the
// engine. Tags travel as their hashes, which are the same in every process.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <string>

#include "hot/cache_methods.hpp"
#include "hot/cache_object.hpp"
#include "hot/key_object.hpp"
#include "millpond/base/error.hpp"
#include "millpond/cache/snapshot.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

[[nodiscard]] std::string_view view_of(PyObject* bytes) noexcept {
    return {PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
}

// The bytes that an entry of the mapping has for a key, borrowed, or null.
PyObject* key_bytes(const cache::Entry& entry) noexcept {
    if (entry.kind != static_cast<std::uint8_t>(KeyKind::Held)) {
        return nullptr;
    }
    PyObject* const object = reinterpret_cast<KeyObject*>(entry.key)->object;
    return object != nullptr && PyBytes_CheckExact(object) ? object : nullptr;
}

void write_entries(CacheObject* self, SnapshotWriter& writer, Instant now) {
    const EngineStore& store = *self->store;
    store.for_each([&](Slot slot, const cache::Entry& entry) {
        PyObject* const key = key_bytes(entry);
        PyObject* const value = reinterpret_cast<PyObject*>(entry.value);
        if (entry.space != self->space || entry.state != cache::EntryState::Resident ||
            entry.deadline <= now || key == nullptr || !PyBytes_CheckExact(value)) {
            return;
        }
        std::vector<std::string> hashes;
        store.tags().for_each(slot, [&hashes](cache::TagHash tag) {
            hashes.emplace_back(reinterpret_cast<const char*>(&tag), sizeof tag);
        });
        const std::vector<std::string_view> tags(hashes.begin(), hashes.end());
        SnapshotRecord record;
        record.key = view_of(key);
        record.value = view_of(value);
        record.cost = static_cast<float>(entry.cost.dollars());
        record.frequency = entry.frequency;
        record.tags = tags;
        if (entry.deadline != kNever) {
            record.ttl_left = entry.deadline - now;
        }
        writer.add(record);
    });
}

// Refuses, before anything is stored, a snapshot whose tags are not hashes.
void check_tags(std::span<const std::byte> snapshot) {
    SnapshotReader reader(snapshot);
    while (const SnapshotRecord* const record = reader.next()) {
        for (const std::string_view text : record->tags) {
            if (text.size() != sizeof(cache::TagHash)) {
                throw Error(ErrorCode::Corrupt,
                            "restore: this snapshot was not written by Cache.dump()");
            }
        }
    }
}

// The shortest decimal number that `cost` stands for: 0.002 and not 0.00200000009.
double decimal(float cost) {
    std::array<char, 32> text{};
    const char* const end = std::to_chars(text.data(), text.data() + text.size(), cost).ptr;
    double dollars = 0;
    std::from_chars(text.data(), end, dollars);
    return dollars;
}

// Stores one record; false with an exception set.
bool restore_record(CacheObject* self, const SnapshotRecord& record, Nanos elapsed, bool* kept) {
    Life life{kForEver, self->tti, 0, decimal(record.cost)};
    if (record.ttl_left) {
        if (*record.ttl_left <= elapsed) {
            return true;
        }
        life.ttl = *record.ttl_left - elapsed;
    }
    std::vector<cache::TagHash> tags;
    for (const std::string_view text : record.tags) {
        cache::TagHash tag = 0;
        std::memcpy(&tag, text.data(), sizeof tag);
        tags.push_back(tag);
    }
    const auto bytes = [](std::string_view text) {
        return Ref(PyBytes_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
    };
    const Ref object = bytes(record.key);
    const Ref value = bytes(record.value);
    CacheKey key;
    return object && value && key_of(object.get(), self->space, self->salt, true, true, key) &&
           store_value(self, key, self->space, value.get(), life, tags, kept);
}

}  // namespace

PyObject* cache_dump(PyObject* object, PyObject* wall_clock) {
    CacheObject* const self = as_cache(object);
    const long long saved_at = PyLong_AsLongLong(wall_clock);
    if (saved_at == -1 && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    static_cast<void>(look_up_time(self));
    try {
        std::string written;
        SnapshotWriter writer(
            [&written](std::span<const std::byte> piece) {
                written.append(reinterpret_cast<const char*>(piece.data()), piece.size());
            },
            Nanos{saved_at});
        write_entries(self, writer, store_now(self));
        writer.finish();
        return PyBytes_FromStringAndSize(written.data(), static_cast<Py_ssize_t>(written.size()));
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
}

PyObject* cache_restore(PyObject* object, PyObject* args) {
    CacheObject* const self = as_cache(object);
    PyObject* snapshot = nullptr;
    long long now = 0;
    if (!PyArg_ParseTuple(args, "SL", &snapshot, &now)) {
        return nullptr;
    }
    try {
        const std::string_view bytes = view_of(snapshot);
        const auto all = std::as_bytes(std::span(bytes.data(), bytes.size()));
        check_tags(all);
        SnapshotReader reader(all);
        const bool dated = reader.saved_at() > Nanos::zero();
        const Nanos elapsed = dated ? std::max(Nanos{0}, Nanos{now} - reader.saved_at()) : Nanos{0};
        std::size_t count = 0;
        while (const SnapshotRecord* const record = reader.next()) {
            bool kept = false;
            if (!restore_record(self, *record, elapsed, &kept)) {
                return nullptr;
            }
            count += kept ? 1U : 0U;
        }
        return PyLong_FromSize_t(count);
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
}

}  // namespace millpond::bindings
