#include "dataplane/image/check.h"

#include <algorithm>
#include <string_view>
#include <tuple>

#include "api/abi/image.h"
#include "dataplane/image/maglev.h"

namespace sluice::image {
namespace {

auto place_of(const Backend& backend) {
    return std::tie(backend.address, backend.port);
}

Result<void> check_set(const Service& service, const BackendSet& set, std::string_view field) {
    if (set.backends.size() > SLUICE_MAX_SET_SIZE) {
        return make_error(Code::kInvalidArgument, "service {}: {} has {} backends, at most {} fit",
                          service.key.display(), field, set.backends.size(), SLUICE_MAX_SET_SIZE);
    }
    for (std::size_t i = 0; i < set.backends.size(); ++i) {
        const Backend& backend = set.backends[i];
        if (backend.port == 0 || backend.address.family() != service.key.family) {
            return make_error(Code::kInvalidArgument,
                              "service {}: {} names backend {} port {}, which is not of its family "
                              "or has no port",
                              service.key.display(), field, backend.address.to_string(),
                              backend.port);
        }
        if (backend.weight == 0 || backend.weight > kMaxWeight) {
            return make_error(
                Code::kInvalidArgument,
                "service {}: {} gives backend {} port {} weight {}; it must be 1 to {}",
                service.key.display(), field, backend.address.to_string(), backend.port,
                backend.weight, kMaxWeight);
        }
        if (i > 0 && place_of(set.backends[i - 1]) >= place_of(backend)) {
            return make_error(Code::kInvalidArgument,
                              "service {}: {} is not sorted by address and port, or repeats {}",
                              service.key.display(), field, backend.address.to_string());
        }
    }
    return {};
}

Result<void> check_frontends(const Service& service) {
    for (const Frontend& frontend : service.frontends) {
        if (frontend.port == 0) {
            return make_error(Code::kInvalidArgument, "service {}: a frontend has port 0",
                              service.key.display());
        }
        if (frontend.scope == Scope::kAddress &&
            (frontend.address.is_unspecified() ||
             frontend.address.family() != service.key.family)) {
            return make_error(Code::kInvalidArgument,
                              "service {}: frontend address {} is unspecified or not of its family",
                              service.key.display(), frontend.address.to_string());
        }
        if (frontend.restricted && service.sources.empty()) {
            return make_error(
                Code::kInvalidArgument,
                "service {}: frontend {} port {} is for source ranges only, and there "
                "are none",
                service.key.display(), frontend.address.to_string(), frontend.port);
        }
    }
    return {};
}

Result<void> check_sources(const Service& service) {
    const auto& ranges = service.sources;
    if (ranges.size() > SLUICE_MAX_SET_SIZE) {
        return make_error(Code::kInvalidArgument, "service {}: {} source ranges, at most {} fit",
                          service.key.display(), ranges.size(), SLUICE_MAX_SET_SIZE);
    }
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        const AddressRange& range = ranges[i];
        if (range.first.family() != service.key.family ||
            range.last.family() != service.key.family || range.last < range.first) {
            return make_error(Code::kInvalidArgument,
                              "service {}: source range {} to {} is empty or not of its family",
                              service.key.display(), range.first.to_string(),
                              range.last.to_string());
        }
        if (i > 0 && ranges[i - 1].last >= range.first) {
            return make_error(Code::kInvalidArgument,
                              "service {}: source range {} to {} is out of order or overlaps the "
                              "one before",
                              service.key.display(), range.first.to_string(),
                              range.last.to_string());
        }
    }
    return {};
}

}  // namespace

Result<void> check_service(const Service& service) {
    SLUICE_TRY(check_set(service, service.internal, "the internal set"));
    SLUICE_TRY(check_set(service, service.external, "the external set"));
    SLUICE_TRY(check_set(service, service.inside, "the external set for clients inside"));
    SLUICE_TRY(check_frontends(service));
    return check_sources(service);
}

}  // namespace sluice::image
