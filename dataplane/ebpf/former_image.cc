#include "dataplane/ebpf/former_image.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "api/base/fd.h"
#include "api/base/log.h"
#include "dataplane/ebpf/kernel_image.h"
#include "dataplane/ebpf/pins.h"
#include "dataplane/image/life.h"
#include "dataplane/image/reader.h"

namespace sluice::dataplane {
namespace {

// Backends of an image whose size is not known that get an incarnation of their own; later ones get it when the image
// grows, from those (EbpfEngine::replace_image).
constexpr std::uint32_t kUnknownBackends = 2048;

// A pinned array of any shape, mapped read-only.
class PinnedArray {
public:
    static Result<PinnedArray> open(const std::string& path, std::uint32_t value_size) {
        PinnedArray out;
        const Fd map(bpf_obj_get(path.c_str()));
        bpf_map_info info{};
        std::uint32_t length = sizeof(info);
        if (!map || bpf_obj_get_info_by_fd(map.get(), &info, &length) != 0) {
            return errno_error(errno, "cannot open the pinned table {}", path);
        }
        if (info.type != BPF_MAP_TYPE_ARRAY || info.value_size != value_size ||
            (info.map_flags & BPF_F_MMAPABLE) == 0) {
            return make_error(Code::kFailedPrecondition, "{} is not a table of its layout", path);
        }
        out.entries_ = info.max_entries;
        out.length_ = std::size_t{info.max_entries} * value_size;
        out.address_ = mmap(nullptr, out.length_, PROT_READ, MAP_SHARED, map.get(), 0);
        if (out.address_ == MAP_FAILED) {
            out.address_ = nullptr;
            return errno_error(errno, "cannot map the pinned table {}", path);
        }
        return out;
    }
    PinnedArray() = default;
    PinnedArray(PinnedArray&& other) noexcept
        : address_(std::exchange(other.address_, nullptr)),
          length_(other.length_),
          entries_(other.entries_) {}
    PinnedArray& operator=(PinnedArray&& other) noexcept {
        std::swap(address_, other.address_);
        std::swap(length_, other.length_);
        std::swap(entries_, other.entries_);
        return *this;
    }
    ~PinnedArray() {
        if (address_ != nullptr) {
            munmap(address_, length_);
        }
    }
    template <class T>
    [[nodiscard]] const T* at() const {
        return static_cast<const T*>(address_);
    }
    [[nodiscard]] std::uint32_t entries() const { return entries_; }

private:
    void* address_ = nullptr;
    std::size_t length_ = 0;
    std::uint32_t entries_ = 0;
};

class CurrentLayout final : public FormerImage {
public:
    explicit CurrentLayout(std::unique_ptr<KernelImage> tables)
        : tables_(std::move(tables)), carried_(image::Carried::from(tables_->tables())) {}
    [[nodiscard]] const image::Carried& carried() const override { return carried_; }
    [[nodiscard]] image::Counts counts() const override { return image::Counts::of(tables_->tables()); }

private:
    std::unique_ptr<KernelImage> tables_;
    image::Carried carried_;
};

// Where layout 1 differs. Its header has the fields used here where layout 2 has them, with the number of CPUs for
// counter_rows; backends, names and service counters are the same. Counters lie [row][service], one row more than CPUs.
struct ServiceOfLayout1 {
    std::uint64_t word[2];
    std::uint32_t flags;
    std::uint32_t affinity_timeout_s;
    std::uint32_t name;
    std::uint16_t port_be;
    std::uint8_t protocol;
    std::uint8_t family;
    std::uint32_t reserved[8];
};
static_assert(sizeof(ServiceOfLayout1) == 64);

class Layout1 final : public FormerImage {
public:
    static Result<std::unique_ptr<FormerImage>> open(const std::string& directory) {
        auto out = std::make_unique<Layout1>();
        const auto path = [&](const char* name) { return directory + "/" + name; };
        SLUICE_TRY_ASSIGN(out->header_,
                          PinnedArray::open(path("sluice_header"), sizeof(sluice_header)));
        SLUICE_TRY_ASSIGN(out->services_,
                          PinnedArray::open(path("sluice_services"), sizeof(ServiceOfLayout1)));
        SLUICE_TRY_ASSIGN(out->backends_,
                          PinnedArray::open(path("sluice_backends"), sizeof(sluice_backend)));
        SLUICE_TRY_ASSIGN(out->names_, PinnedArray::open(path("sluice_names"), 8));
        SLUICE_TRY_ASSIGN(out->counters_, PinnedArray::open(path("sluice_counters"),
                                                            sizeof(sluice_service_counters)));
        SLUICE_TRY_ASSIGN(out->drops_, PinnedArray::open(path("sluice_drops"), 8));
        const auto* header = out->header_.at<sluice_header>();
        if (header->magic != SLUICE_IMAGE_MAGIC || header->layout_version != 1) {
            return make_error(Code::kFailedPrecondition, "{} holds no image of layout 1",
                              directory);
        }
        out->read();
        return std::unique_ptr<FormerImage>(std::move(out));
    }
    [[nodiscard]] const image::Carried& carried() const override { return carried_; }
    [[nodiscard]] image::Counts counts() const override;

private:
    void read();
    [[nodiscard]] std::string_view name(std::uint32_t offset) const {
        const std::size_t size = std::size_t{names_.entries()} * 8;
        if (offset >= size) {
            return {};
        }
        const char* text = names_.at<char>() + offset;
        return {text, strnlen(text, std::min(size - offset, image::kMaxNameLength))};
    }

    PinnedArray header_;
    PinnedArray services_;
    PinnedArray backends_;
    PinnedArray names_;
    PinnedArray counters_;
    PinnedArray drops_;
    image::Carried carried_;
};

void Layout1::read() {
    carried_.generation = header_.at<sluice_header>()->generation;
    for (std::uint32_t i = 0; i < services_.entries() && i < image::kMaxServices; ++i) {
        const ServiceOfLayout1& service = services_.at<ServiceOfLayout1>()[i];
        if (service.flags & SLUICE_SERVICE_IN_USE) {
            carried_.services.emplace(
                image::Carried::identity(name(service.name), service.protocol, service.family), i);
            carried_.usage.services = i + 1;
        }
    }
    for (std::uint32_t i = 0; i < backends_.entries() && i < image::kMaxBackends; ++i) {
        if (backends_.at<sluice_backend>()[i].incarnation != 0) {
            carried_.usage.backends = i + 1;
        }
    }
    carried_.backends.assign(backends_.at<sluice_backend>(),
                             backends_.at<sluice_backend>() + carried_.usage.backends);
}

image::Counts Layout1::counts() const {
    image::Counts out;
    const std::uint32_t services = services_.entries();
    out.services.resize(services);
    for (std::uint32_t cell = 0; cell < counters_.entries(); ++cell) {
        const auto& from = counters_.at<sluice_service_counters>()[cell];
        sluice_service_counters& sum = out.services[cell % services];
        sum.connections += from.connections;
        sum.packets += from.packets;
        sum.bytes += from.bytes;
        sum.refused += from.refused;
    }
    for (std::uint32_t cell = 0; cell < drops_.entries(); ++cell) {
        out.drops[cell % SLUICE_DROP_STRIDE] += drops_.at<std::uint64_t>()[cell];
    }
    return out;
}

// Of a layout that cannot be read.
class Unknown final : public FormerImage {
public:
    Unknown() : carried_(image::carried_from_nothing(kUnknownBackends)) {}
    [[nodiscard]] const image::Carried& carried() const override { return carried_; }
    [[nodiscard]] image::Counts counts() const override { return {}; }

private:
    image::Carried carried_;
};

}  // namespace

std::unique_ptr<FormerImage> FormerImage::open(const std::string& directory) {
    const std::uint32_t version = layout_version_of(directory);
    if (version == SLUICE_LAYOUT_VERSION) {
        auto opened = KernelImage::open(directory, false);
        if (opened) {
            return std::make_unique<CurrentLayout>(std::move(*opened));
        }
        log::warn("ebpf", "the former image cannot be read: {}", opened.error().to_string());
    } else if (version == 1) {
        auto opened = Layout1::open(directory);
        if (opened) {
            log::info("ebpf", "taking over from {}, of layout version 1", directory);
            return std::move(*opened);
        }
        log::warn("ebpf", "the former image cannot be read: {}", opened.error().to_string());
    }
    log::warn("ebpf",
              "starting without the content of {} (layout version {}, this program's is {}): TCP flows go on; "
              "datagrams and clients with affinity choose a backend anew; services count from zero",
              directory, version, SLUICE_LAYOUT_VERSION);
    return std::make_unique<Unknown>();
}

}  // namespace sluice::dataplane
