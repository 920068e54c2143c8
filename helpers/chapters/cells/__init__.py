"""What the chapters on few-shot cells share: parameters, data, pretrainings, trainings."""
