// See fingerprint.h. Fields are written one after another, every list behind its length, so that no two services are
// written alike; padding is never read.
#include "agent/compile/fingerprint.h"

#include <xxhash.h>

#include <string>
#include <type_traits>

namespace sluice::compile {
namespace {

class Writer {
public:
    template <class T>
    void number(T value) {
        static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
        out_.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    void address(const IpAddress& address) {
        out_.append(reinterpret_cast<const char*>(address.bytes.data()), address.bytes.size());
    }
    void text(const std::string& text) {
        number(text.size());
        out_.append(text);
    }
    void set(const image::BackendSet& set) {
        number(set.when_empty_drop);
        number(set.backends.size());
        for (const auto& backend : set.backends) {
            address(backend.address);
            number(backend.port);
            number(backend.local);
            number(backend.terminating);
            number(backend.weight);
            text(backend.target);
        }
    }
    [[nodiscard]] Fingerprint hash() const {
        const XXH128_hash_t made = XXH3_128bits(out_.data(), out_.size());
        return {made.low64, made.high64};
    }

private:
    std::string out_;
};

}  // namespace

Fingerprint fingerprint_of(const image::Service& service) {
    Writer writer;
    writer.number(service.port);
    writer.number(service.affinity_timeout_s);
    writer.number(service.choice);
    writer.number(service.frontends.size());
    for (const auto& frontend : service.frontends) {
        writer.address(frontend.address);
        writer.number(frontend.port);
        writer.number(frontend.scope);
        writer.number(frontend.external);
        writer.number(frontend.masquerade);
        writer.number(frontend.restricted);
        writer.number(frontend.forwarding);
    }
    writer.set(service.internal);
    writer.set(service.external);
    writer.set(service.inside);
    writer.number(service.sources.size());
    for (const auto& range : service.sources) {
        writer.address(range.first);
        writer.address(range.last);
    }
    return writer.hash();
}

}  // namespace sluice::compile
