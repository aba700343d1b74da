// Hits of a trace through a store, for some policies and sizes, one line each: policy size hits.
//
//     engine_replay FILE POLICY,POLICY... SIZE,SIZE...
//
// FILE holds little-endian 32-bit object ids in order of access.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "millpond/base/hash.hpp"
#include "millpond/cache/store.hpp"

namespace {

using namespace millpond;
using namespace millpond::cache;

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, ',');) {
        parts.push_back(part);
    }
    return parts;
}

PolicyKind policy_named(const std::string& name) {
    const std::vector<std::string> names{"lru", "lfu", "fifo", "sieve", "s3fifo"};
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (names[i] == name) {
            return static_cast<PolicyKind>(i);
        }
    }
    std::fprintf(stderr, "engine_replay: no policy is called %s\n", name.c_str());
    std::exit(2);
}

std::vector<std::uint32_t> read(const char* path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) {
        std::fprintf(stderr, "engine_replay: cannot read %s\n", path);
        std::exit(2);
    }
    std::vector<std::uint32_t> ids(static_cast<std::size_t>(file.tellg()) / 4);
    file.seekg(0);
    file.read(reinterpret_cast<char*>(ids.data()), static_cast<std::streamsize>(ids.size() * 4));
    return ids;
}

std::uint64_t replay(const std::vector<std::uint32_t>& ids, PolicyKind policy, std::uint64_t size) {
    StoreCore store{{.max_entries = size, .policy = policy}};
    const SpaceId space = store.open_space();
    const std::uint64_t salt = store.salt(space);
    for (const std::uint32_t id : ids) {
        const KeyRef key{mix64(id ^ salt), id, space, 0};
        const Slot slot = store.find(key);
        if (slot != kNoSlot) {
            store.hit(slot, store[slot], Instant{});
        } else {
            store.put(key, kNoSlot, id, Keep{.weight = 1}, {}, Instant{});
            store.removed().clear();
        }
    }
    return store.counters(space).hits;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: engine_replay FILE POLICY,POLICY... SIZE,SIZE...\n");
        return 2;
    }
    const std::vector<std::uint32_t> ids = read(argv[1]);
    for (const std::string& policy : split(argv[2])) {
        for (const std::string& size : split(argv[3])) {
            const std::uint64_t hits = replay(ids, policy_named(policy), std::stoull(size));
            std::printf("%s %s %llu\n", policy.c_str(), size.c_str(),
                        static_cast<unsigned long long>(hits));
        }
    }
}
