#include "dataplane/ebpf/kernel_image.h"

#include <bpf/bpf.h>
#include <sys/mman.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "dataplane/ebpf/pins.h"
#include "dataplane/image/reader.h"

namespace sluice::dataplane {

using image::Capacities;
using image::kTableCount;
using image::Table;
using image::TableSpec;

KernelImage::~KernelImage() {
    for (std::size_t i = 0; i < kTableCount; ++i) {
        if (addresses_[i] != nullptr) {
            munmap(addresses_[i], lengths_[i]);
        }
    }
}

Result<void> KernelImage::map(const std::array<TableSpec, kTableCount>& specs, bool writable) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    for (std::size_t i = 0; i < kTableCount; ++i) {
        const std::size_t bytes = std::size_t{specs[i].value_size} * specs[i].entries;
        lengths_[i] = (bytes + page - 1) / page * page;
        void* address = mmap(nullptr, lengths_[i], writable ? PROT_READ | PROT_WRITE : PROT_READ,
                             MAP_SHARED, fds_[i].get(), 0);
        if (address == MAP_FAILED) {
            return errno_error(errno, "cannot map the BPF array {}", specs[i].name);
        }
        addresses_[i] = address;
    }
    tables_ = image::Tables::at(addresses_);
    return {};
}

Result<std::unique_ptr<KernelImage>> KernelImage::create(const Capacities& capacities) {
    if (!capacities.within_limits()) {
        return make_error(
            Code::kResourceExhausted,
            "the table image would exceed its limits: {} services of {}, {} frontends "
            "of {}, {} backends of {}, {} set slots of {}",
            capacities.services, image::kMaxServices, capacities.frontends, image::kMaxFrontends,
            capacities.backends, image::kMaxBackends, capacities.set_slots, image::kMaxSetSlots);
    }
    std::unique_ptr<KernelImage> out(new KernelImage);
    out->capacities_ = capacities;
    const auto specs = table_specs(capacities);
    for (std::size_t i = 0; i < kTableCount; ++i) {
        LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
        const int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, specs[i].name, sizeof(std::uint32_t),
                                      specs[i].value_size, specs[i].entries, &options);
        if (fd < 0) {
            return errno_error(-fd, "cannot create the BPF array {} of {} entries", specs[i].name,
                               specs[i].entries);
        }
        out->fds_[i] = Fd(fd);
    }
    SLUICE_TRY(out->map(specs, true));
    return out;
}

Result<std::unique_ptr<KernelImage>> KernelImage::open(const std::string& directory,
                                                       bool writable) {
    std::unique_ptr<KernelImage> out(new KernelImage);
    const auto named = table_specs(Capacities{});
    std::array<bpf_map_info, kTableCount> infos{};
    for (std::size_t i = 0; i < kTableCount; ++i) {
        const std::string path = directory + "/" + named[i].name;
        const int fd = bpf_obj_get(path.c_str());
        if (fd < 0) {
            return errno_error(-fd, "cannot open the pinned table {}", path);
        }
        out->fds_[i] = Fd(fd);
        std::uint32_t length = sizeof(infos[i]);
        const int error = bpf_obj_get_info_by_fd(fd, &infos[i], &length);
        if (error != 0) {
            return errno_error(-error, "cannot inspect the pinned table {}", path);
        }
    }
    const auto entries = [&](Table table) {
        return infos[static_cast<std::size_t>(table)].max_entries;
    };
    Capacities& capacities = out->capacities_;
    capacities.buckets = entries(Table::kBuckets);
    capacities.frontends = entries(Table::kFrontends);
    capacities.services = entries(Table::kServices);
    capacities.set_slots = entries(Table::kSets);
    capacities.backends = entries(Table::kBackends);
    capacities.name_bytes = entries(Table::kNames) * 8;
    capacities.ring_lines = entries(Table::kRings);
    capacities.ranges = entries(Table::kRanges);
    capacities.counter_rows = entries(Table::kDrops) / SLUICE_DROP_STRIDE - 1;
    if (!capacities.within_limits()) {
        return make_error(Code::kFailedPrecondition, "the tables pinned in {} have odd sizes",
                          directory);
    }
    const auto specs = table_specs(capacities);
    for (std::size_t i = 0; i < kTableCount; ++i) {
        if (infos[i].type != BPF_MAP_TYPE_ARRAY || infos[i].value_size != specs[i].value_size ||
            infos[i].max_entries != specs[i].entries ||
            (infos[i].map_flags & BPF_F_MMAPABLE) == 0) {
            return make_error(Code::kFailedPrecondition, "{}/{} is not a table of this layout",
                              directory, specs[i].name);
        }
    }
    SLUICE_TRY(out->map(specs, writable));
    if (auto checked = image::check_header(*out->tables_.header, capacities); !checked) {
        return checked.error().with_context(directory);
    }
    return out;
}

Result<void> KernelImage::pin(const std::string& directory) const {
    const auto specs = table_specs(capacities_);
    for (std::size_t i = 0; i < kTableCount; ++i) {
        const std::string path = directory + "/" + specs[i].name;
        const int error = bpf_obj_pin(fds_[i].get(), path.c_str());
        if (error != 0) {
            return errno_error(-error, "cannot pin {}", path);
        }
    }
    return {};
}

std::uint64_t map_bytes(int fd) {
    std::ifstream in(fmt::format("/proc/self/fdinfo/{}", fd));
    std::string key;
    while (in >> key) {
        if (key == "memlock:") {
            std::uint64_t bytes = 0;
            in >> bytes;
            return bytes;
        }
        in.ignore(4096, '\n');
    }
    return 0;
}

std::uint64_t pinned_map_bytes(const std::string& directory) {
    std::uint64_t sum = 0;
    for (const std::string& name : list_directory(directory)) {
        const Fd map(bpf_obj_get((directory + "/" + name).c_str()));
        sum += map ? map_bytes(map.get()) : 0;
    }
    return sum;
}

}  // namespace sluice::dataplane
