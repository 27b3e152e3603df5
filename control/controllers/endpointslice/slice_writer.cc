#include "control/controllers/endpointslice/slice_writer.h"

namespace sluice::controllers::endpoints {
namespace {

constexpr char kByService[] = "endpoints/service";

std::string service_of(const Slice& slice) {
    const auto& labels = slice.metadata().labels();
    const auto found = labels.find(kServiceNameLabel);
    if (found == labels.end() || found->second.empty()) return {};
    return slice.metadata().namespace_() + "/" + found->second;
}

SlicePtr shared(client::Object object) {
    return SlicePtr(static_cast<const Slice*>(object.release()));
}

}  // namespace

SliceWriter::SliceWriter(Context& context, std::string manager,
                         std::function<void(const std::string& service)> changed)
    : context_(context),
      kind_(*codec::find_resource("discovery.k8s.io", "v1", "endpointslices")),
      manager_(std::move(manager)),
      informer_(context.informers.get(kind_)),
      changed_(std::move(changed)) {
    informer_.add_index(kByService, [](const google::protobuf::Message& object) {
        return std::vector<std::string>{service_of(static_cast<const Slice&>(object))};
    });
    informer_.add_handler([this](const auto& before, const auto& after) {
        const auto& slice = static_cast<const Slice&>(after != nullptr ? *after : *before);
        // A slice that was taken away from this manager counts, too: another is needed then.
        const bool was_ours = before != nullptr && is_ours(static_cast<const Slice&>(*before));
        if (!was_ours && !is_ours(slice)) return;
        const std::string service = service_of(slice);
        if (after == nullptr) {
            written_.forget(service);
        } else if (written_.is_echo(service, slice)) {
            return;
        }
        if (!service.empty()) changed_(service);
        if (before == nullptr) return;
        const std::string old_service = service_of(static_cast<const Slice&>(*before));
        if (old_service != service && !old_service.empty()) changed_(old_service);
    });
}

bool SliceWriter::is_ours(const Slice& slice) const {
    const auto found = slice.metadata().labels().find(kManagedByLabel);
    return found != slice.metadata().labels().end() && found->second == manager_;
}

std::vector<SlicePtr> SliceWriter::slices(const std::string& service) {
    std::vector<SlicePtr> cached;
    for (const auto& object : informer_.by_index(kByService, service)) {
        auto slice = client::as<Slice>(object);
        if (is_ours(*slice)) cached.push_back(std::move(slice));
    }
    auto out = written_.after_writes(service, std::move(cached));
    // What is going away counts for nothing any more.
    std::erase_if(out, [](const SlicePtr& slice) {
        return slice->metadata().has_deletiontimestamp();
    });
    return out;
}

Result<void> SliceWriter::write(const std::string& service, const Changes& changes) {
    const auto fail = [&](const client::ApiError& error, const char* verb) {
        written_.forget(service);
        return error.with_context(fmt::format("cannot {} a slice of service {}", verb, service));
    };
    for (const auto& slice : changes.create) {
        auto stored = context_.client.create_object(kind_, slice);
        if (!stored) return fail(stored.error(), "create");
        written_.wrote(service, shared(std::move(*stored)));
    }
    for (const auto& slice : changes.update) {
        auto stored = context_.client.update(kind_, slice);
        if (!stored) return fail(stored.error(), "update");
        written_.wrote(service, shared(std::move(*stored)));
    }
    for (const auto& slice : changes.remove) {
        client::DeleteRequest request;
        request.uid = slice->metadata().uid();
        const auto gone = context_.client.remove(kind_, slice->metadata().namespace_(),
                                                 slice->metadata().name(), request);
        if (!gone && !gone.error().not_found()) return fail(gone.error(), "remove");
        written_.removed(service, slice);
    }
    return {};
}

}  // namespace sluice::controllers::endpoints
