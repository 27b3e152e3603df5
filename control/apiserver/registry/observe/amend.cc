#include "control/apiserver/registry/observe/amend.h"

#include <google/protobuf/message.h>

#include "control/apiserver/registry/rest/lifecycle.h"

namespace sluice::registry {

void amend_object(Core& core, const codec::KindInfo& kind, const std::string& name_space,
                  const std::string& name, Amend change, std::function<void(Result<void>)> done,
                  bool status) {
    const Strategy& strategy = core.strategies.of(kind);
    change_object(
        core, strategy, name_space, name, false,
        [&strategy, status, change = std::move(change)](const ObjectPtr& existing) -> Answer<Change> {
            auto wanted = change(existing == nullptr ? nullptr : &existing->message());
            if (wanted == nullptr) return Change{};
            if (existing == nullptr) return prepare_creation(strategy, std::move(wanted));
            return prepare_update(strategy, *existing, std::move(wanted),
                                  status ? Part::kStatus : Part::kMain);
        },
        [&strategy, name_space, name, done = std::move(done)](const Answer<Outcome>& outcome) {
            if (outcome) return done({});
            done(make_error(Code::kFailedPrecondition, "cannot write {} {}/{}: {}",
                            strategy.kind().resource, name_space, name, outcome.error().message));
        });
}

}  // namespace sluice::registry
