// Answers the person's questions from the pinned image; what a packet would meet is asked of
// bpf/lib itself.
#include "dataplane/ebpf/inspect.h"

#include "dataplane/ebpf/attach.h"
#include "dataplane/ebpf/explain.h"
#include "dataplane/ebpf/kernel_image.h"
#include "dataplane/ebpf/pins.h"
#include "dataplane/image/frontends.h"
#include "dataplane/image/reader.h"

namespace sluice::dataplane {
namespace {

class PinnedInspector final : public Inspector {
public:
    PinnedInspector(PinPaths paths, std::unique_ptr<KernelImage> image)
        : paths_(std::move(paths)), image_(std::move(image)) {}

    [[nodiscard]] Result<ImageStatus> status() const override;
    [[nodiscard]] Result<std::vector<ServiceView>> services() const override {
        return image::read_stable(image_->tables(),
                                  [&] { return read_services(image_->tables()); });
    }
    [[nodiscard]] Result<std::vector<DropView>> drops() const override {
        return read_drops(image_->tables());
    }
    [[nodiscard]] Result<Explanation> explain(IpAddress source, IpAddress destination,
                                              std::uint16_t destination_port, Protocol protocol,
                                              bool from_outside) const override {
        const Question question{source, destination, destination_port, protocol, from_outside};
        return image::read_stable(image_->tables(),
                                  [&] { return explain_packet(image_->tables(), question); });
    }

private:
    PinPaths paths_;
    std::unique_ptr<KernelImage> image_;
};

Result<ImageStatus> PinnedInspector::status() const {
    const image::Tables& tables = image_->tables();
    ImageStatus out = image::read_stable(tables, [&] { return read_status(tables); });
    for (std::size_t i = 0; i < image::kTableCount; ++i) {
        out.kernel_bytes += map_bytes(image_->fd(static_cast<image::Table>(i)));
    }
    out.kernel_bytes += pinned_map_bytes(paths_.state);
    out.programs = describe_links(paths_.links);
    return out;
}

}  // namespace

Result<std::unique_ptr<Inspector>> Inspector::open(const std::string& bpffs) {
    const PinPaths paths = PinPaths::under(bpffs);
    // The agent may replace the image between the look at its name and the opening of its tables.
    constexpr int kAttempts = 5;
    Error error;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const auto directory = current_image(paths);
        if (!directory) {
            return make_error(Code::kNotFound,
                              "no table image is pinned in {}; start sluice-agent, or name its BPF "
                              "file system with --bpffs",
                              paths.root);
        }
        auto opened = KernelImage::open(*directory, false);
        if (opened) {
            return std::unique_ptr<Inspector>(
                std::make_unique<PinnedInspector>(paths, std::move(*opened)));
        }
        error = opened.error();
        if (error.code != Code::kNotFound) {
            break;
        }
    }
    return error;
}

}  // namespace sluice::dataplane
