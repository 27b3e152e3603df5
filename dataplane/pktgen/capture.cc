#include "dataplane/pktgen/capture.h"

#include <pcap/pcap.h>

#include <algorithm>
#include <array>
#include <memory>

#include "dataplane/pktgen/headers.h"

namespace sluice::pktgen {
namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

struct Closer {
    void operator()(pcap_t* file) const { pcap_close(file); }
};

Result<void> append(const std::string& path, const pcap_pkthdr& header, const u_char* data,
                    std::uint32_t max_frame_bytes, std::uint64_t start_ns, Capture& out) {
    const std::size_t number = out.frames.size() + 1;
    if (header.caplen != header.len) {
        return make_error(Code::kInvalidArgument,
                          "capture {}: frame {} has {} of its {} bytes; capture with a longer snap length",
                          path, number, header.caplen, header.len);
    }
    if (header.len < kEthernetBytes || header.len + kChecksumBytes > max_frame_bytes) {
        return make_error(Code::kInvalidArgument,
                          "capture {}: frame {} has {} bytes, not {} to {}", path, number, header.len,
                          kEthernetBytes, max_frame_bytes - kChecksumBytes);
    }
    if (number > kMaxCaptureFrames || out.bytes.size() + header.len > kMaxCaptureBytes) {
        return make_error(Code::kResourceExhausted,
                          "capture {}: more than {} frames or {} bytes", path, kMaxCaptureFrames,
                          kMaxCaptureBytes);
    }
    // The time stamps were asked for in nanoseconds.
    const std::uint64_t at = static_cast<std::uint64_t>(header.ts.tv_sec) * kNsPerSecond +
                             static_cast<std::uint64_t>(header.ts.tv_usec);
    CapturedFrame frame;
    frame.at_ns = at > start_ns ? at - start_ns : 0;
    if (!out.frames.empty()) {
        frame.at_ns = std::max(frame.at_ns, out.frames.back().at_ns);
    }
    frame.offset = out.bytes.size();
    frame.bytes = std::max(header.len, static_cast<std::uint32_t>(kMinFrame - kChecksumBytes));
    out.bytes.insert(out.bytes.end(), data, data + header.len);
    out.bytes.resize(frame.offset + frame.bytes);
    out.longest = std::max(out.longest, frame.bytes);
    out.frames.push_back(frame);
    return {};
}

}  // namespace

Result<Capture> load_capture(const std::string& path, std::uint32_t max_frame_bytes) {
    std::array<char, PCAP_ERRBUF_SIZE> why{};
    const std::unique_ptr<pcap_t, Closer> file(
        pcap_open_offline_with_tstamp_precision(path.c_str(), PCAP_TSTAMP_PRECISION_NANO, why.data()));
    if (file == nullptr) {
        return make_error(Code::kInvalidArgument, "capture {}: {}", path, why.data());
    }
    if (pcap_datalink(file.get()) != DLT_EN10MB) {
        const char* name = pcap_datalink_val_to_name(pcap_datalink(file.get()));
        return make_error(Code::kInvalidArgument, "capture {}: its link type is {}, not Ethernet", path,
                          name != nullptr ? name : "unknown");
    }
    Capture out;
    std::uint64_t start_ns = 0;
    pcap_pkthdr* header = nullptr;
    const u_char* data = nullptr;
    int got = 0;
    while ((got = pcap_next_ex(file.get(), &header, &data)) == 1) {
        if (out.frames.empty()) {
            start_ns = static_cast<std::uint64_t>(header->ts.tv_sec) * kNsPerSecond +
                       static_cast<std::uint64_t>(header->ts.tv_usec);
        }
        SLUICE_TRY(append(path, *header, data, max_frame_bytes, start_ns, out));
    }
    if (got == PCAP_ERROR) {
        return make_error(Code::kInvalidArgument, "capture {}: after {} frames: {}", path,
                          out.frames.size(), pcap_geterr(file.get()));
    }
    if (out.frames.empty()) {
        return make_error(Code::kInvalidArgument, "capture {}: it has no frames", path);
    }
    const std::uint64_t length = out.frames.back().at_ns;
    const std::uint64_t gaps = std::max<std::uint64_t>(out.frames.size() - 1, 1);
    out.period_ns = length + std::max<std::uint64_t>(length / gaps, 1);
    return out;
}

}  // namespace sluice::pktgen
