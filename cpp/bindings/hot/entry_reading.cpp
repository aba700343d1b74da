#include "hot/entry_reading.hpp"

#include <algorithm>
#include <span>

#include "hot/entry_head.hpp"

namespace millpond::bindings {

using cache::TierEvent;

namespace {

// Whether a number may be a stamp: one of 64 bits. Sets no exception.
bool is_stamp(PyObject* number) {
    if (PyLong_Check(number) == 0) {
        return false;
    }
    const bool fits = PyLong_AsUnsignedLongLong(number) != ~0ULL || PyErr_Occurred() == nullptr;
    PyErr_Clear();
    return fits;
}

bool is_list_of(PyObject* object, Py_ssize_t count) {
    return PyList_Check(object) != 0 && PyList_GET_SIZE(object) == count;
}

}  // namespace

bool is_fetched(PyObject* fetched, Py_ssize_t names) {
    if (PyTuple_Check(fetched) == 0 || PyTuple_GET_SIZE(fetched) != 3) {
        return false;
    }
    PyObject* const data = PyTuple_GET_ITEM(fetched, 0);
    PyObject* const guards = PyTuple_GET_ITEM(fetched, 1);
    PyObject* const stamps = PyTuple_GET_ITEM(fetched, 2);
    bool sound = is_list_of(data, 1) && is_list_of(guards, 1) && is_list_of(stamps, names) &&
                 (PyList_GET_ITEM(data, 0) == Py_None || PyBytes_Check(PyList_GET_ITEM(data, 0))) &&
                 is_stamp(PyList_GET_ITEM(guards, 0));
    for (Py_ssize_t i = 0; sound && i < names; ++i) {
        PyObject* const stamp = PyList_GET_ITEM(stamps, i);
        sound = stamp == Py_None || is_stamp(stamp);
    }
    return sound;
}

// Adds names with their stamps. False with an exception set.
bool read_present(PyObject* names, PyObject* stamps, std::vector<Present>& present) {
    const Ref texts(PySequence_Fast(names, "generation names are a sequence"));
    const Ref numbers(texts ? PySequence_Fast(stamps, "stamps are a sequence") : nullptr);
    if (!numbers) {
        return false;
    }
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(texts.get());
    if (PySequence_Fast_GET_SIZE(numbers.get()) != count) {
        PyErr_SetString(PyExc_ValueError, "the tier has not given a stamp for each name");
        return false;
    }
    present.reserve(present.size() + static_cast<std::size_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
        Present one;
        if (!read_generation(PySequence_Fast_GET_ITEM(texts.get(), i), one.name)) {
            PyErr_SetString(PyExc_ValueError, "a generation has 32 hexadecimal digits");
            return false;
        }
        PyObject* const number = PySequence_Fast_GET_ITEM(numbers.get(), i);
        if (PyLong_Check(number)) {
            const unsigned long long stamp = PyLong_AsUnsignedLongLong(number);
            if (stamp != ~0ULL || PyErr_Occurred() == nullptr) {
                one.stamp = stamp;
            }
            PyErr_Clear();  // No entry has such a stamp.
        }
        present.push_back(one);
    }
    return true;
}

double memory_life(double left, double most, PyObject* monitors) noexcept {
    double life = std::min(left, most);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(monitors); ++i) {
        life = std::min(life, tier_cap(PyTuple_GET_ITEM(monitors, i)));
    }
    return life;
}

// Entries have their stamps in the order in which calls ask for them, mostly.
std::optional<std::size_t> Reading::find(const GenerationBytes& name, std::size_t first) const {
    if (first < known_.size() && known_[first].name == name) {
        return first;
    }
    const auto at =
        std::ranges::find_if(known_, [&](const Present& one) { return one.name == name; });
    return at == known_.end() ? std::nullopt
                              : std::optional(static_cast<std::size_t>(at - known_.begin()));
}

// Whether there is a generation of the call that an entry does not carry.
bool Reading::lacks_some(const Envelope& found) const {
    const std::size_t count = found.stamps.size() / kStampBytes;
    for (std::size_t i = 0; i < call_; ++i) {
        const auto is_it = [&](std::size_t at) {
            return stamp_at(found, at).name == known_[i].name;
        };
        bool there = i < count && is_it(i);
        for (std::size_t at = 0; !there && at < count; ++at) {
            there = is_it(at);
        }
        if (!there) {
            return true;
        }
    }
    return false;
}

// Whether all stamps are the present ones; `tags` are the hashes of those that the call did not name.
Reading::Outcome Reading::compare(const Envelope& found, Ref& tags) {
    const std::size_t count = found.stamps.size() / kStampBytes;
    std::vector<std::uint64_t> hashes;
    others_.clear();
    if (reader_->strict && lacks_some(found)) {
        return bad(TierEvent::StaleGeneration);
    }
    for (std::size_t i = 0; i < count; ++i) {
        const EntryStamp stamp = stamp_at(found, i);
        const std::optional<std::size_t> at = find(stamp.name, i);
        if (!at) {
            others_.push_back(stamp.name);
        } else if (known_[*at].stamp != stamp.value) {
            return bad(TierEvent::StaleGeneration);
        } else if (*at >= call_) {
            std::uint64_t hash = 0;  // The first 16 digits of a name are the hash of its tag.
            for (std::size_t byte = 0; byte < 8; ++byte) {
                hash = hash << 8 | std::to_integer<std::uint64_t>(stamp.name[byte]);
            }
            hashes.push_back(hash);
        }
    }
    if (!others_.empty()) {
        return Outcome::Unknown;
    }
    if (!hashes.empty()) {
        tags = Ref(PyTuple_New(static_cast<Py_ssize_t>(hashes.size())));
        for (std::size_t i = 0; tags && i < hashes.size(); ++i) {
            PyObject* const hash = PyLong_FromUnsignedLongLong(hashes[i]);
            if (hash == nullptr) {
                return Outcome::Error;
            }
            PyTuple_SET_ITEM(tags.get(), static_cast<Py_ssize_t>(i), hash);
        }
        return tags ? Outcome::Good : Outcome::Error;
    }
    return Outcome::Good;
}

// Asked once for all entries. False with an exception set.
bool Reading::now(double& micros) {
    if (now_ < 0) {
        const Ref given(PyObject_CallNoArgs(reader_->now));
        now_ = given ? PyFloat_AsDouble(given.get()) : -1;
        if (now_ == -1 && PyErr_Occurred() != nullptr) {
            return false;
        }
    }
    micros = now_;
    return true;
}

// How long an entry, its value, and memory's copy of that live from now on.
TierValue Reading::lives(const EnvelopeHeader& header, double micros) const noexcept {
    const auto until = [micros](std::uint64_t end) {
        return (static_cast<double>(end) - micros) / 1e6;
    };
    const double left = until(header.expires_us);
    const double fresh = header.fresh_us == 0 ? left : until(header.fresh_us);
    const double life = std::min(fresh, most_);
    const double window = std::max(reader_->stale_while, reader_->stale_if);
    const double kept = memory_life(left, life + window, reader_->monitors);
    return {.value = nullptr,
            .tags = nullptr,
            .left = left,
            .fresh = fresh,
            .life = std::min(life, kept),
            .kept = kept,
            .cost = header.cost,
            .age = -until(header.stored_us),
            .source = reader_->source,
            .store = store_};
}

Reading::Outcome Reading::value_of(PyObject* key, PyObject* entry, const Envelope& found,
                                   Ref& value) {
    if (reader_->plain) {
        value = Ref(plain_value(entry, found, reader_->terms));
    }
    if (!reader_->plain || value.get() == Py_NotImplemented) {
        PyObject* const arguments[] = {entry, key};
        value = Ref(PyObject_Vectorcall(reader_->opened, arguments, 2, nullptr));
    }
    if (value) {
        return Outcome::Good;
    }
    if (!is_unreadable()) {
        return Outcome::Error;
    }
    PyErr_Clear();
    return bad(TierEvent::Unreadable);
}

Reading::Outcome Reading::open(PyObject* key, PyObject* entry, Ref& loaded) {
    if (!PyBytes_CheckExact(entry)) {
        return bad(TierEvent::Unreadable);
    }
    Envelope found;
    const std::span<const std::byte> bytes = std::as_bytes(
        std::span(PyBytes_AS_STRING(entry), static_cast<std::size_t>(PyBytes_GET_SIZE(entry))));
    if (read_envelope(bytes, found, reader_->most) != EntryFault::None) {
        return bad(TierEvent::Unreadable);
    }
    Ref tags;
    Outcome outcome = compare(found, tags);
    if (outcome != Outcome::Good) {
        return outcome;
    }
    double micros = 0;
    if (!now(micros)) {
        return Outcome::Error;
    }
    TierValue from = lives(found.header, micros);
    const double window = std::max(reader_->stale_while, reader_->stale_if);
    const bool past = from.fresh <= 0;
    if (from.left <= 0 || (past && -from.fresh >= window)) {
        return bad(TierEvent::Expired);
    }
    Ref value;
    outcome = value_of(key, entry, found, value);
    if (outcome != Outcome::Good) {
        return outcome;
    }
    const bool good = !past || (!anew_ && -from.fresh < reader_->stale_while);
    cache::TierMonitor& monitor = tier_monitor(reader_->monitor);
    monitor.count(good ? TierEvent::Hit : TierEvent::Stale);
    monitor.count(TierEvent::StaleHit, good && past ? 1 : 0);
    from.value = value.get();
    from.tags = tags.get();
    loaded = Ref(make_loaded(from));
    return !loaded ? Outcome::Error : good ? Outcome::Good : Outcome::Past;
}

}  // namespace millpond::bindings
