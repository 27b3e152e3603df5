#include "api/codec/apply/entries.h"

#include <algorithm>
#include <tuple>

#include "api/codec/time.h"
#include "api/kubernetes/meta/v1/meta.pb.h"

namespace sluice::codec {
namespace {

constexpr std::string_view kApply = "Apply";
constexpr std::string_view kUpdate = "Update";
constexpr std::string_view kFieldsType = "FieldsV1";

Result<void> check_entry(const metav1::ManagedFieldsEntry& entry, int index) {
    if (entry.operation() != kApply && entry.operation() != kUpdate) {
        return make_error(Code::kInvalidArgument, "operation must be `Apply` or `Update`");
    }
    if (entry.apiversion().empty()) return make_error(Code::kInvalidArgument, "apiVersion must not be empty");
    if (entry.fieldstype().empty()) {
        return make_error(Code::kInvalidArgument, "missing fieldsType in managed fields entry {}", index);
    }
    if (entry.fieldstype() != kFieldsType) {
        return make_error(Code::kInvalidArgument, "invalid fieldsType \"{}\" in managed fields entry {}",
                          entry.fieldstype(), index);
    }
    return {};
}

auto rank_of(const Managers::value_type& entry) {
    const auto& [manager, owned] = entry;
    const bool updates = manager.operation == ManagerOperation::kUpdate;
    return std::tie(updates ? kUpdate : kApply, owned.time, manager.name, owned.api_version, manager.subresource);
}

bool same_entry(const metav1::ManagedFieldsEntry& a, const metav1::ManagedFieldsEntry& b) {
    return a.manager() == b.manager() && a.operation() == b.operation() && a.apiversion() == b.apiversion() &&
           a.subresource() == b.subresource() && a.fieldstype() == b.fieldstype() &&
           a.fieldsv1().raw() == b.fieldsv1().raw();
}

}  // namespace

Result<Managers> read_managers(const metav1::ObjectMeta& meta) {
    Managers out;
    int index = 0;
    for (const auto& entry : meta.managedfields()) {
        SLUICE_TRY(check_entry(entry, index++));
        const bool applies = entry.operation() == kApply;
        Manager manager{entry.manager(), applies ? ManagerOperation::kApply : ManagerOperation::kUpdate,
                        applies ? std::string() : entry.apiversion(), entry.subresource()};
        Owned owned;
        owned.api_version = entry.apiversion();
        if (entry.has_time() && entry.time().seconds() != 0) owned.time = format_time(entry.time().seconds());
        if (!entry.fieldsv1().raw().empty()) {
            SLUICE_TRY_ASSIGN(owned.fields, FieldSet::from_json(entry.fieldsv1().raw()));
        }
        out.insert_or_assign(std::move(manager), std::move(owned));
    }
    return out;
}

void write_managers(const Managers& managers, metav1::ObjectMeta* meta) {
    std::vector<const Managers::value_type*> sorted;
    for (const auto& entry : managers) sorted.push_back(&entry);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto* a, const auto* b) { return rank_of(*a) < rank_of(*b); });
    meta->clear_managedfields();
    for (const auto* item : sorted) {
        const auto& [manager, owned] = *item;
        auto* entry = meta->add_managedfields();
        entry->set_manager(manager.name);
        entry->set_operation(std::string(manager.operation == ManagerOperation::kApply ? kApply : kUpdate));
        entry->set_apiversion(owned.api_version);
        if (const auto time = parse_time(owned.time); time) entry->mutable_time()->set_seconds(time->seconds);
        entry->set_fieldstype(std::string(kFieldsType));
        entry->mutable_fieldsv1()->set_raw(owned.fields.to_json());
        if (!manager.subresource.empty()) entry->set_subresource(manager.subresource);
    }
}

bool resets_managers(const metav1::ObjectMeta& meta) {
    if (meta.managedfields_size() != 1) return false;
    return meta.managedfields(0).ByteSizeLong() == 0;
}

bool same_but_times(const metav1::ObjectMeta& a, const metav1::ObjectMeta& b) {
    return std::equal(a.managedfields().begin(), a.managedfields().end(), b.managedfields().begin(),
                      b.managedfields().end(), same_entry);
}

}  // namespace sluice::codec
