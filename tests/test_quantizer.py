import copy

import torch

from vqcast.networks.quantizer import DEAD_SHARE, Quantizer


def vectors(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def warm_quantizer(codes: int = 8, code_dim: int = 4, decay: float = 0.9) -> Quantizer:
    """A quantizer that has seen one batch, so that its codebook is made."""
    quantizer = Quantizer(codes, code_dim, decay).train()
    quantizer(vectors(0, 4, code_dim, 2, 3, 3))
    quantizer.learn()
    return quantizer


def test_every_vector_gets_its_nearest_code():
    quantizer = warm_quantizer().eval()
    encoded = vectors(1, 2, 4, 2, 3, 3)
    result = quantizer(encoded)
    distances = torch.cdist(encoded.movedim(1, -1).reshape(-1, 4), quantizer.codebook)
    assert torch.equal(result.codes.flatten(), distances.argmin(1))
    assert torch.equal(quantizer.lookup(result.codes), quantizer.codebook[result.codes].movedim(-1, 1))


def test_straight_through_gradient_is_exactly_one():
    quantizer = warm_quantizer()
    encoded = vectors(2, 2, 4, 2, 3, 3).requires_grad_()
    quantizer(encoded).values.sum().backward()
    assert torch.equal(encoded.grad, torch.ones_like(encoded))


def test_commitment_loss_pulls_vectors_to_their_codes_and_not_codes_to_vectors():
    quantizer = warm_quantizer().eval()
    encoded = vectors(3, 1, 4, 1, 2, 2).requires_grad_()
    result = quantizer(encoded)
    result.commitment_loss.backward()
    expected = 2 * (encoded - quantizer.lookup(result.codes)) / encoded.numel()
    torch.testing.assert_close(encoded.grad, expected)
    assert not any(buffer.requires_grad for buffer in quantizer.buffers())


def test_ema_update_equals_equation_3_by_hand():
    quantizer = warm_quantizer(codes=3, code_dim=2, decay=0.9)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]))
    quantizer.counts.copy_(torch.tensor([2.0, 3.0, 4.0]))
    quantizer.sums.copy_(quantizer.codebook * quantizer.counts[:, None])
    # Two vectors nearest to code 0, one to code 1, none to code 2.
    encoded = torch.tensor([[1.0, 0.0], [0.0, 2.0], [9.0, 1.0]]).t().reshape(1, 2, 1, 1, 3)
    quantizer(encoded)
    quantizer.learn()
    counts = torch.tensor([2 * 0.9 + 2 * 0.1, 3 * 0.9 + 1 * 0.1, 4 * 0.9])
    sums = torch.tensor([[0 + 1 * 0.1, 0 + 2 * 0.1], [30 * 0.9 + 9 * 0.1, 1 * 0.1], [0.0, 40 * 0.9]])
    torch.testing.assert_close(quantizer.counts, counts)
    torch.testing.assert_close(quantizer.sums, sums)
    torch.testing.assert_close(quantizer.codebook, sums / counts[:, None])


def test_codebook_starts_from_vectors_of_the_first_batch():
    quantizer = Quantizer(codes=8, code_dim=4, decay=1.0).train()
    encoded = vectors(4, 4, 4, 2, 3, 3)
    quantizer(encoded)
    quantizer.learn()
    batch = encoded.movedim(1, -1).reshape(-1, 4)
    assert all((batch - code).abs().sum(1).min() < 1e-5 for code in quantizer.codebook)
    assert quantizer.codebook.unique(dim=0).shape == quantizer.codebook.shape


def test_dead_codes_are_revived_with_vectors_of_the_batch():
    quantizer = warm_quantizer()
    quantizer.codebook[5] = 1000.0
    quantizer.counts[5] = DEAD_SHARE * quantizer.counts.mean() / 2
    quantizer.sums[5] = 1000.0 * quantizer.counts[5]
    encoded = vectors(5, 4, 4, 2, 3, 3)
    quantizer(encoded)
    quantizer.learn()
    batch = encoded.movedim(1, -1).reshape(-1, 4)
    assert (batch - quantizer.codebook[5]).abs().sum(1).min() < 1e-5


def test_next_training_step_after_save_and_load_is_bit_equal(tmp_path):
    quantizer = warm_quantizer()
    torch.save(quantizer.state_dict(), tmp_path / "quantizer.pt")
    loaded = Quantizer(8, 4, 0.9).train()
    loaded.load_state_dict(torch.load(tmp_path / "quantizer.pt", weights_only=True))
    for seed in range(3):
        encoded = vectors(10 + seed, 4, 4, 2, 3, 3)
        expected, result = quantizer(encoded), loaded(encoded)
        quantizer.learn()
        loaded.learn()
        assert torch.equal(expected.codes, result.codes)
        assert torch.equal(expected.values, result.values)
    for name, value in quantizer.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


def test_batches_shown_one_after_another_teach_as_much_as_all_at_once():
    together, in_parts = warm_quantizer(), warm_quantizer()
    encoded = vectors(8, 4, 4, 2, 3, 3)
    together(encoded)
    for part in encoded.split(2):
        in_parts(part)
    together.learn()
    in_parts.learn()
    for name, value in together.state_dict().items():
        torch.testing.assert_close(value, in_parts.state_dict()[name], rtol=1e-6, atol=1e-6)


def test_what_is_forgotten_leaves_no_trace():
    quantizer, untouched = warm_quantizer(), warm_quantizer()
    quantizer(torch.full((1, 4, 1, 1, 9), torch.nan))
    quantizer.forget()
    for each in (quantizer, untouched):
        each(vectors(9, 4, 4, 2, 3, 3))
        each.learn()
    assert all(
        torch.equal(value, untouched.state_dict()[name]) for name, value in quantizer.state_dict().items()
    )


def test_evaluation_leaves_the_codebook_alone():
    quantizer = warm_quantizer().eval()
    before = copy.deepcopy(quantizer.state_dict())
    quantizer(vectors(6, 4, 4, 2, 3, 3))
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())


def test_distances_stay_float32_under_autocast():
    quantizer = warm_quantizer().eval()
    encoded = vectors(7, 4, 4, 2, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer(encoded).codes, quantizer(encoded.clone()).codes)
        assert quantizer(encoded).values.dtype == torch.float32


def test_of_several_batches_in_the_first_step_the_first_alone_begins_the_codebook():
    quantizer = Quantizer(8, 4, 0.9).train()
    quantizer(vectors(0, 2, 4, 2, 3, 3))
    begun = quantizer.codebook.clone()
    quantizer(vectors(1, 2, 4, 2, 3, 3))
    assert torch.equal(quantizer.codebook, begun)
    quantizer.forget()  # the step was refused: the next one begins it anew
    quantizer(vectors(1, 2, 4, 2, 3, 3))
    assert not torch.equal(quantizer.codebook, begun)


def test_dead_codes_are_revived_from_all_batches_of_a_step():
    revived = set()
    for part in range(2):  # which vectors are taken follows from the number of steps
        quantizer = Quantizer(64, 1, 0.0).train()
        quantizer.steps.fill_(1 + part)
        quantizer.codebook.fill_(100.0)
        quantizer(torch.full((1, 1, 1, 8, 4), 1.0))
        quantizer(torch.full((1, 1, 1, 8, 4), 2.0))
        quantizer.learn()
        revived |= set(quantizer.codebook[1:].flatten().tolist())
    assert revived == {1.0, 2.0}
