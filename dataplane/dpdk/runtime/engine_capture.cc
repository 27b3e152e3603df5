// Captures of packets into a pcapng file: the writer's half.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "dataplane/dpdk/runtime/engine_internal.h"

namespace sluice::dpdk {
namespace {

constexpr auto kLook = std::chrono::milliseconds(5);
constexpr auto kProgress = std::chrono::seconds(1);
constexpr std::size_t kWriteBytes = 1U << 16U;

Result<CaptureFilter> filter_of(const CaptureOptions& options) {
    CaptureFilter out;
    if (!options.source.empty()) {
        auto address = IpAddress::parse(options.source);
        if (!address) return address.error().with_context("source");
        out.source = *address;
    }
    if (!options.destination.empty()) {
        auto address = IpAddress::parse(options.destination);
        if (!address) return address.error().with_context("destination");
        out.destination = *address;
    }
    out.source_port = options.source_port;
    out.destination_port = options.destination_port;
    out.protocol = options.protocol;
    return out;
}

Result<void> check(const CaptureOptions& options) {
    if (options.file.empty() || options.file.front() != '/') {
        return make_error(Code::kInvalidArgument, "file: \"{}\" is not an absolute path", options.file);
    }
    if (options.max_packets == 0 || options.max_packets > kMaxCapturePackets) {
        return make_error(Code::kInvalidArgument, "max_packets: {} is not 1 to {}", options.max_packets,
                          kMaxCapturePackets);
    }
    if (options.snap_length == 0 || options.snap_length > kMaxSnapLength) {
        return make_error(Code::kInvalidArgument, "snap_length: {} is not 1 to {}", options.snap_length,
                          kMaxSnapLength);
    }
    return {};
}

Result<void> write_all(const Fd& file, const std::string& path, std::string* bytes) {
    for (std::size_t at = 0; at < bytes->size();) {
        const ssize_t written = ::write(file.get(), bytes->data() + at, bytes->size() - at);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return errno_error(errno, "file: {}", path);
        at += static_cast<std::size_t>(written);
    }
    bytes->clear();
    return {};
}

}  // namespace

Result<CaptureState> RealEngine::capture(const CaptureOptions& options, const Patience& patience,
                                         const std::function<bool(const CaptureState&)>& progress) {
    SLUICE_TRY(check(options));
    SLUICE_TRY_ASSIGN(const auto filter, filter_of(options));
    const std::unique_lock one(capture_mutex_, std::try_to_lock);
    if (!one.owns_lock()) return make_error(Code::kResourceExhausted, "a capture runs already, and one may");
    const Fd file(::open(options.file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file) return errno_error(errno, "file: {}", options.file);
    SLUICE_TRY_ASSIGN(auto capture, Capture::make(filter, options.snap_length));
    std::vector<std::string> names(kMaxPorts, "none");  // the number of an interface block is the port's
    for (const Port& port : ports_) names[port.id] = port.device;
    std::string bytes = pcapng_header(names, options.snap_length);

    CaptureState state;
    const auto drain = [&]() -> Result<void> {
        while (state.packets < options.max_packets) {
            CaptureRecord* record = capture->take();
            if (record == nullptr) break;
            append_pcapng_packet(&bytes, record->port, record->time_ns, reinterpret_cast<std::uint8_t*>(record + 1),
                                 record->captured, record->length, record->sent != 0 ? 2 : 1);
            capture->done(record);
            ++state.packets;
            if (bytes.size() >= kWriteBytes) SLUICE_TRY(write_all(file, options.file, &bytes));
        }
        state.missed = capture->missed();
        return write_all(file, options.file, &bytes);
    };
    lcores_->publish(capture.get());
    const auto begun = std::chrono::steady_clock::now();
    auto told = begun;
    Result<void> written;
    bool wanted = true;
    while (wanted && state.packets < options.max_packets) {
        written = drain();
        const auto now = std::chrono::steady_clock::now();
        if (!written || !patience.check("the capture") || now - begun >= std::chrono::seconds(options.seconds)) break;
        if (now - told >= kProgress) {
            told = now;
            wanted = progress(state);
        }
        std::this_thread::sleep_for(kLook);
    }
    lcores_->publish(static_cast<Capture*>(nullptr));
    if (!lcores_->grace().wait()) {
        stuck_captures_.push_back(std::move(capture));  // a lcore may still write into it
        return make_error(Code::kDeadlineExceeded, "the capture cannot end: a lcore is stuck");
    }
    if (written) written = drain();
    if (!written) return written.error();
    state.finished = true;
    if (wanted) static_cast<void>(progress(state));
    return state;
}

}  // namespace sluice::dpdk
