// The maps of a BPF object by the names that they have elsewhere.
//
// What programs read as a variable (SLUICE_DATA in bpf/progs/maps.h) is to libbpf a section of data, ".data.NAME"; to
// all others it is the map NAME, of one entry.
#pragma once

#include <string>
#include <string_view>

struct bpf_map;
struct bpf_object;

namespace sluice::dataplane {

std::string_view map_name(const bpf_map* map);
// The constants and variables that belong to one object alone.
bool is_private(const bpf_map* map);
// -1: the object has none of that name, or was not loaded.
int map_fd(const bpf_object* object, const std::string& name);

}  // namespace sluice::dataplane
