#include "weights/model_files.h"

#include <string_view>

#include "weights/model_error.h"

namespace predictor {

ModelFiles::ModelFiles(const WeightPlaces& places) {
  for (const std::string& path : places.files) files_.emplace_back(path);
  for (const auto& [name, place] : places.weights) {
    if (place.file >= files_.size()) throw ModelError("weight " + name + " is in no file");
    const std::string_view bytes = files_[place.file].bytes();
    if (place.offset > bytes.size() || place.size > bytes.size() - place.offset) {
      throw ModelError(places.files[place.file] + " is cut short: weight " + name + " is not all in it");
    }
    weights_[name] = {place.dtype, place.shape, bytes.substr(place.offset, place.size)};
  }
}

void ModelFiles::forget() const {
  for (const MappedFile& file : files_) file.forget();
}

}  // namespace predictor
