"""The tensors of DeepMind's checkpoint `rgb_scratch`: I3D trained on Kinetics-400, on which FVD is defined.

Copied from the index of the published checkpoint (github.com/deepmind/kinetics-i3d, Apache-2.0), which is
tensor for tensor TF-Hub's module i3d-kinetics-400/1. All are float32, in C order, little-endian, and lie one
after another in the data file.
"""

import math
from dataclasses import dataclass

PREFIX = "RGB/inception_i3d/"  # of every name in the checkpoint
BYTES = 50_818_176  # of model.ckpt.data-00000-of-00001

# Files known to hold these weights, by the SHA-1 that git gives to their content.
KNOWN_FILES = {
    "fa7df95674dbf3579e7fccd954e51e706b4734c1": "deepmind/kinetics-i3d, data/checkpoints/rgb_scratch",
    "a867b87ac3a9097d200598b1d48a1b890d8ec744": "VideoGPT's and TATS's conversion, i3d_pretrained_400.pt",
}


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies in the data file, and the CRC-32C of its bytes."""

    name: str  # without PREFIX
    shape: tuple[int, ...]  # as in TensorFlow: a convolution's is (T, H, W, in, out)
    offset: int  # bytes
    crc32c: int  # masked, as TensorFlow stores it

    @property
    def size(self) -> int:
        """Bytes."""
        return 4 * math.prod(self.shape)


def _entry(line: str) -> TensorEntry:
    name, shape, offset, crc32c = line.split()
    return TensorEntry(name, tuple(map(int, shape.split("x"))), int(offset), int(crc32c))


# name, shape, offset, masked CRC-32C
_LINES = """
Conv3d_1a_7x7/batch_norm/beta 64 0 2231696251
Conv3d_1a_7x7/batch_norm/moving_mean 64 256 1973027449
Conv3d_1a_7x7/batch_norm/moving_variance 64 512 2444846207
Conv3d_1a_7x7/conv_3d/w 7x7x7x3x64 768 1008621070
Conv3d_2b_1x1/batch_norm/beta 64 264192 3545776138
Conv3d_2b_1x1/batch_norm/moving_mean 64 264448 2479209245
Conv3d_2b_1x1/batch_norm/moving_variance 64 264704 3726878597
Conv3d_2b_1x1/conv_3d/w 1x1x1x64x64 264960 961330612
Conv3d_2c_3x3/batch_norm/beta 192 281344 1945893281
Conv3d_2c_3x3/batch_norm/moving_mean 192 282112 1679100168
Conv3d_2c_3x3/batch_norm/moving_variance 192 282880 2174764951
Conv3d_2c_3x3/conv_3d/w 3x3x3x64x192 283648 182145191
Logits/Conv3d_0c_1x1/conv_3d/b 400 1610752 549507829
Logits/Conv3d_0c_1x1/conv_3d/w 1x1x1x1024x400 1612352 2968598036
Mixed_3b/Branch_0/Conv3d_0a_1x1/batch_norm/beta 64 3250752 461249388
Mixed_3b/Branch_0/Conv3d_0a_1x1/batch_norm/moving_mean 64 3251008 1001000833
Mixed_3b/Branch_0/Conv3d_0a_1x1/batch_norm/moving_variance 64 3251264 1297759623
Mixed_3b/Branch_0/Conv3d_0a_1x1/conv_3d/w 1x1x1x192x64 3251520 1602191846
Mixed_3b/Branch_1/Conv3d_0a_1x1/batch_norm/beta 96 3300672 1819875412
Mixed_3b/Branch_1/Conv3d_0a_1x1/batch_norm/moving_mean 96 3301056 2514771892
Mixed_3b/Branch_1/Conv3d_0a_1x1/batch_norm/moving_variance 96 3301440 1483635359
Mixed_3b/Branch_1/Conv3d_0a_1x1/conv_3d/w 1x1x1x192x96 3301824 1702975162
Mixed_3b/Branch_1/Conv3d_0b_3x3/batch_norm/beta 128 3375552 3195263353
Mixed_3b/Branch_1/Conv3d_0b_3x3/batch_norm/moving_mean 128 3376064 3595294382
Mixed_3b/Branch_1/Conv3d_0b_3x3/batch_norm/moving_variance 128 3376576 3877798300
Mixed_3b/Branch_1/Conv3d_0b_3x3/conv_3d/w 3x3x3x96x128 3377088 3745706884
Mixed_3b/Branch_2/Conv3d_0a_1x1/batch_norm/beta 16 4704192 4003082066
Mixed_3b/Branch_2/Conv3d_0a_1x1/batch_norm/moving_mean 16 4704256 375150014
Mixed_3b/Branch_2/Conv3d_0a_1x1/batch_norm/moving_variance 16 4704320 2460669875
Mixed_3b/Branch_2/Conv3d_0a_1x1/conv_3d/w 1x1x1x192x16 4704384 185205849
Mixed_3b/Branch_2/Conv3d_0b_3x3/batch_norm/beta 32 4716672 2013806690
Mixed_3b/Branch_2/Conv3d_0b_3x3/batch_norm/moving_mean 32 4716800 42720557
Mixed_3b/Branch_2/Conv3d_0b_3x3/batch_norm/moving_variance 32 4716928 3226318080
Mixed_3b/Branch_2/Conv3d_0b_3x3/conv_3d/w 3x3x3x16x32 4717056 1275091874
Mixed_3b/Branch_3/Conv3d_0b_1x1/batch_norm/beta 32 4772352 1447017386
Mixed_3b/Branch_3/Conv3d_0b_1x1/batch_norm/moving_mean 32 4772480 2507639386
Mixed_3b/Branch_3/Conv3d_0b_1x1/batch_norm/moving_variance 32 4772608 4128408199
Mixed_3b/Branch_3/Conv3d_0b_1x1/conv_3d/w 1x1x1x192x32 4772736 3354187205
Mixed_3c/Branch_0/Conv3d_0a_1x1/batch_norm/beta 128 4797312 2115241358
Mixed_3c/Branch_0/Conv3d_0a_1x1/batch_norm/moving_mean 128 4797824 159488909
Mixed_3c/Branch_0/Conv3d_0a_1x1/batch_norm/moving_variance 128 4798336 3585206417
Mixed_3c/Branch_0/Conv3d_0a_1x1/conv_3d/w 1x1x1x256x128 4798848 3740464429
Mixed_3c/Branch_1/Conv3d_0a_1x1/batch_norm/beta 128 4929920 123043769
Mixed_3c/Branch_1/Conv3d_0a_1x1/batch_norm/moving_mean 128 4930432 1499728437
Mixed_3c/Branch_1/Conv3d_0a_1x1/batch_norm/moving_variance 128 4930944 1809894139
Mixed_3c/Branch_1/Conv3d_0a_1x1/conv_3d/w 1x1x1x256x128 4931456 1623897130
Mixed_3c/Branch_1/Conv3d_0b_3x3/batch_norm/beta 192 5062528 3033364762
Mixed_3c/Branch_1/Conv3d_0b_3x3/batch_norm/moving_mean 192 5063296 1063596271
Mixed_3c/Branch_1/Conv3d_0b_3x3/batch_norm/moving_variance 192 5064064 3687905608
Mixed_3c/Branch_1/Conv3d_0b_3x3/conv_3d/w 3x3x3x128x192 5064832 662265820
Mixed_3c/Branch_2/Conv3d_0a_1x1/batch_norm/beta 32 7719040 2616101978
Mixed_3c/Branch_2/Conv3d_0a_1x1/batch_norm/moving_mean 32 7719168 887874762
Mixed_3c/Branch_2/Conv3d_0a_1x1/batch_norm/moving_variance 32 7719296 1921928847
Mixed_3c/Branch_2/Conv3d_0a_1x1/conv_3d/w 1x1x1x256x32 7719424 775248711
Mixed_3c/Branch_2/Conv3d_0b_3x3/batch_norm/beta 96 7752192 3731514004
Mixed_3c/Branch_2/Conv3d_0b_3x3/batch_norm/moving_mean 96 7752576 1963370327
Mixed_3c/Branch_2/Conv3d_0b_3x3/batch_norm/moving_variance 96 7752960 3625980515
Mixed_3c/Branch_2/Conv3d_0b_3x3/conv_3d/w 3x3x3x32x96 7753344 587192024
Mixed_3c/Branch_3/Conv3d_0b_1x1/batch_norm/beta 64 8085120 3508921012
Mixed_3c/Branch_3/Conv3d_0b_1x1/batch_norm/moving_mean 64 8085376 2041886295
Mixed_3c/Branch_3/Conv3d_0b_1x1/batch_norm/moving_variance 64 8085632 1357614343
Mixed_3c/Branch_3/Conv3d_0b_1x1/conv_3d/w 1x1x1x256x64 8085888 3655624870
Mixed_4b/Branch_0/Conv3d_0a_1x1/batch_norm/beta 192 8151424 718849182
Mixed_4b/Branch_0/Conv3d_0a_1x1/batch_norm/moving_mean 192 8152192 287852569
Mixed_4b/Branch_0/Conv3d_0a_1x1/batch_norm/moving_variance 192 8152960 98413983
Mixed_4b/Branch_0/Conv3d_0a_1x1/conv_3d/w 1x1x1x480x192 8153728 2552317781
Mixed_4b/Branch_1/Conv3d_0a_1x1/batch_norm/beta 96 8522368 3644806919
Mixed_4b/Branch_1/Conv3d_0a_1x1/batch_norm/moving_mean 96 8522752 1610556078
Mixed_4b/Branch_1/Conv3d_0a_1x1/batch_norm/moving_variance 96 8523136 2615643428
Mixed_4b/Branch_1/Conv3d_0a_1x1/conv_3d/w 1x1x1x480x96 8523520 2332095582
Mixed_4b/Branch_1/Conv3d_0b_3x3/batch_norm/beta 208 8707840 3228756483
Mixed_4b/Branch_1/Conv3d_0b_3x3/batch_norm/moving_mean 208 8708672 813794741
Mixed_4b/Branch_1/Conv3d_0b_3x3/batch_norm/moving_variance 208 8709504 783488374
Mixed_4b/Branch_1/Conv3d_0b_3x3/conv_3d/w 3x3x3x96x208 8710336 3116667929
Mixed_4b/Branch_2/Conv3d_0a_1x1/batch_norm/beta 16 10866880 1868676902
Mixed_4b/Branch_2/Conv3d_0a_1x1/batch_norm/moving_mean 16 10866944 3532416858
Mixed_4b/Branch_2/Conv3d_0a_1x1/batch_norm/moving_variance 16 10867008 18293057
Mixed_4b/Branch_2/Conv3d_0a_1x1/conv_3d/w 1x1x1x480x16 10867072 3031614731
Mixed_4b/Branch_2/Conv3d_0b_3x3/batch_norm/beta 48 10897792 3897051133
Mixed_4b/Branch_2/Conv3d_0b_3x3/batch_norm/moving_mean 48 10897984 2751111014
Mixed_4b/Branch_2/Conv3d_0b_3x3/batch_norm/moving_variance 48 10898176 2528171706
Mixed_4b/Branch_2/Conv3d_0b_3x3/conv_3d/w 3x3x3x16x48 10898368 602894571
Mixed_4b/Branch_3/Conv3d_0b_1x1/batch_norm/beta 64 10981312 3640402456
Mixed_4b/Branch_3/Conv3d_0b_1x1/batch_norm/moving_mean 64 10981568 403501783
Mixed_4b/Branch_3/Conv3d_0b_1x1/batch_norm/moving_variance 64 10981824 3767896738
Mixed_4b/Branch_3/Conv3d_0b_1x1/conv_3d/w 1x1x1x480x64 10982080 481779876
Mixed_4c/Branch_0/Conv3d_0a_1x1/batch_norm/beta 160 11104960 2460893554
Mixed_4c/Branch_0/Conv3d_0a_1x1/batch_norm/moving_mean 160 11105600 3162478480
Mixed_4c/Branch_0/Conv3d_0a_1x1/batch_norm/moving_variance 160 11106240 1137023396
Mixed_4c/Branch_0/Conv3d_0a_1x1/conv_3d/w 1x1x1x512x160 11106880 2313827100
Mixed_4c/Branch_1/Conv3d_0a_1x1/batch_norm/beta 112 11434560 499504264
Mixed_4c/Branch_1/Conv3d_0a_1x1/batch_norm/moving_mean 112 11435008 1214888403
Mixed_4c/Branch_1/Conv3d_0a_1x1/batch_norm/moving_variance 112 11435456 239330155
Mixed_4c/Branch_1/Conv3d_0a_1x1/conv_3d/w 1x1x1x512x112 11435904 772966759
Mixed_4c/Branch_1/Conv3d_0b_3x3/batch_norm/beta 224 11665280 2851058537
Mixed_4c/Branch_1/Conv3d_0b_3x3/batch_norm/moving_mean 224 11666176 24247566
Mixed_4c/Branch_1/Conv3d_0b_3x3/batch_norm/moving_variance 224 11667072 3658505958
Mixed_4c/Branch_1/Conv3d_0b_3x3/conv_3d/w 3x3x3x112x224 11667968 1497138463
Mixed_4c/Branch_2/Conv3d_0a_1x1/batch_norm/beta 24 14377472 3719207816
Mixed_4c/Branch_2/Conv3d_0a_1x1/batch_norm/moving_mean 24 14377568 2952043974
Mixed_4c/Branch_2/Conv3d_0a_1x1/batch_norm/moving_variance 24 14377664 591904127
Mixed_4c/Branch_2/Conv3d_0a_1x1/conv_3d/w 1x1x1x512x24 14377760 2899947573
Mixed_4c/Branch_2/Conv3d_0b_3x3/batch_norm/beta 64 14426912 1956718652
Mixed_4c/Branch_2/Conv3d_0b_3x3/batch_norm/moving_mean 64 14427168 3477741322
Mixed_4c/Branch_2/Conv3d_0b_3x3/batch_norm/moving_variance 64 14427424 1131945230
Mixed_4c/Branch_2/Conv3d_0b_3x3/conv_3d/w 3x3x3x24x64 14427680 1694518192
Mixed_4c/Branch_3/Conv3d_0b_1x1/batch_norm/beta 64 14593568 4027202110
Mixed_4c/Branch_3/Conv3d_0b_1x1/batch_norm/moving_mean 64 14593824 3634802177
Mixed_4c/Branch_3/Conv3d_0b_1x1/batch_norm/moving_variance 64 14594080 1768119477
Mixed_4c/Branch_3/Conv3d_0b_1x1/conv_3d/w 1x1x1x512x64 14594336 3119163379
Mixed_4d/Branch_0/Conv3d_0a_1x1/batch_norm/beta 128 14725408 2741491527
Mixed_4d/Branch_0/Conv3d_0a_1x1/batch_norm/moving_mean 128 14725920 1483645989
Mixed_4d/Branch_0/Conv3d_0a_1x1/batch_norm/moving_variance 128 14726432 2274708444
Mixed_4d/Branch_0/Conv3d_0a_1x1/conv_3d/w 1x1x1x512x128 14726944 2400473726
Mixed_4d/Branch_1/Conv3d_0a_1x1/batch_norm/beta 128 14989088 2227170116
Mixed_4d/Branch_1/Conv3d_0a_1x1/batch_norm/moving_mean 128 14989600 1125611519
Mixed_4d/Branch_1/Conv3d_0a_1x1/batch_norm/moving_variance 128 14990112 3919390985
Mixed_4d/Branch_1/Conv3d_0a_1x1/conv_3d/w 1x1x1x512x128 14990624 1851682746
Mixed_4d/Branch_1/Conv3d_0b_3x3/batch_norm/beta 256 15252768 1117080332
Mixed_4d/Branch_1/Conv3d_0b_3x3/batch_norm/moving_mean 256 15253792 1078923202
Mixed_4d/Branch_1/Conv3d_0b_3x3/batch_norm/moving_variance 256 15254816 4077067209
Mixed_4d/Branch_1/Conv3d_0b_3x3/conv_3d/w 3x3x3x128x256 15255840 24273086
Mixed_4d/Branch_2/Conv3d_0a_1x1/batch_norm/beta 24 18794784 377049709
Mixed_4d/Branch_2/Conv3d_0a_1x1/batch_norm/moving_mean 24 18794880 3956021443
Mixed_4d/Branch_2/Conv3d_0a_1x1/batch_norm/moving_variance 24 18794976 548603828
Mixed_4d/Branch_2/Conv3d_0a_1x1/conv_3d/w 1x1x1x512x24 18795072 1339939931
Mixed_4d/Branch_2/Conv3d_0b_3x3/batch_norm/beta 64 18844224 2449576997
Mixed_4d/Branch_2/Conv3d_0b_3x3/batch_norm/moving_mean 64 18844480 1955956940
Mixed_4d/Branch_2/Conv3d_0b_3x3/batch_norm/moving_variance 64 18844736 4196374408
Mixed_4d/Branch_2/Conv3d_0b_3x3/conv_3d/w 3x3x3x24x64 18844992 3484772870
Mixed_4d/Branch_3/Conv3d_0b_1x1/batch_norm/beta 64 19010880 612094503
Mixed_4d/Branch_3/Conv3d_0b_1x1/batch_norm/moving_mean 64 19011136 516781264
Mixed_4d/Branch_3/Conv3d_0b_1x1/batch_norm/moving_variance 64 19011392 4283846277
Mixed_4d/Branch_3/Conv3d_0b_1x1/conv_3d/w 1x1x1x512x64 19011648 1742600418
Mixed_4e/Branch_0/Conv3d_0a_1x1/batch_norm/beta 112 19142720 2027097304
Mixed_4e/Branch_0/Conv3d_0a_1x1/batch_norm/moving_mean 112 19143168 2690019346
Mixed_4e/Branch_0/Conv3d_0a_1x1/batch_norm/moving_variance 112 19143616 2482032773
Mixed_4e/Branch_0/Conv3d_0a_1x1/conv_3d/w 1x1x1x512x112 19144064 3434481472
Mixed_4e/Branch_1/Conv3d_0a_1x1/batch_norm/beta 144 19373440 3147492450
Mixed_4e/Branch_1/Conv3d_0a_1x1/batch_norm/moving_mean 144 19374016 1136622946
Mixed_4e/Branch_1/Conv3d_0a_1x1/batch_norm/moving_variance 144 19374592 2949937569
Mixed_4e/Branch_1/Conv3d_0a_1x1/conv_3d/w 1x1x1x512x144 19375168 2939236282
Mixed_4e/Branch_1/Conv3d_0b_3x3/batch_norm/beta 288 19670080 4135529006
Mixed_4e/Branch_1/Conv3d_0b_3x3/batch_norm/moving_mean 288 19671232 2854837918
Mixed_4e/Branch_1/Conv3d_0b_3x3/batch_norm/moving_variance 288 19672384 1803894521
Mixed_4e/Branch_1/Conv3d_0b_3x3/conv_3d/w 3x3x3x144x288 19673536 2579825333
Mixed_4e/Branch_2/Conv3d_0a_1x1/batch_norm/beta 32 24152512 2589329902
Mixed_4e/Branch_2/Conv3d_0a_1x1/batch_norm/moving_mean 32 24152640 2269955182
Mixed_4e/Branch_2/Conv3d_0a_1x1/batch_norm/moving_variance 32 24152768 2232618180
Mixed_4e/Branch_2/Conv3d_0a_1x1/conv_3d/w 1x1x1x512x32 24152896 3382282407
Mixed_4e/Branch_2/Conv3d_0b_3x3/batch_norm/beta 64 24218432 3885522681
Mixed_4e/Branch_2/Conv3d_0b_3x3/batch_norm/moving_mean 64 24218688 2824639288
Mixed_4e/Branch_2/Conv3d_0b_3x3/batch_norm/moving_variance 64 24218944 1146111874
Mixed_4e/Branch_2/Conv3d_0b_3x3/conv_3d/w 3x3x3x32x64 24219200 4216277855
Mixed_4e/Branch_3/Conv3d_0b_1x1/batch_norm/beta 64 24440384 1682704964
Mixed_4e/Branch_3/Conv3d_0b_1x1/batch_norm/moving_mean 64 24440640 554536780
Mixed_4e/Branch_3/Conv3d_0b_1x1/batch_norm/moving_variance 64 24440896 3996837764
Mixed_4e/Branch_3/Conv3d_0b_1x1/conv_3d/w 1x1x1x512x64 24441152 1311624661
Mixed_4f/Branch_0/Conv3d_0a_1x1/batch_norm/beta 256 24572224 3956936301
Mixed_4f/Branch_0/Conv3d_0a_1x1/batch_norm/moving_mean 256 24573248 4114253065
Mixed_4f/Branch_0/Conv3d_0a_1x1/batch_norm/moving_variance 256 24574272 2234949628
Mixed_4f/Branch_0/Conv3d_0a_1x1/conv_3d/w 1x1x1x528x256 24575296 3785030117
Mixed_4f/Branch_1/Conv3d_0a_1x1/batch_norm/beta 160 25115968 2964861416
Mixed_4f/Branch_1/Conv3d_0a_1x1/batch_norm/moving_mean 160 25116608 203622262
Mixed_4f/Branch_1/Conv3d_0a_1x1/batch_norm/moving_variance 160 25117248 3639364385
Mixed_4f/Branch_1/Conv3d_0a_1x1/conv_3d/w 1x1x1x528x160 25117888 716107803
Mixed_4f/Branch_1/Conv3d_0b_3x3/batch_norm/beta 320 25455808 3075136393
Mixed_4f/Branch_1/Conv3d_0b_3x3/batch_norm/moving_mean 320 25457088 939153539
Mixed_4f/Branch_1/Conv3d_0b_3x3/batch_norm/moving_variance 320 25458368 4071535024
Mixed_4f/Branch_1/Conv3d_0b_3x3/conv_3d/w 3x3x3x160x320 25459648 3064041434
Mixed_4f/Branch_2/Conv3d_0a_1x1/batch_norm/beta 32 30989248 177843930
Mixed_4f/Branch_2/Conv3d_0a_1x1/batch_norm/moving_mean 32 30989376 3291619027
Mixed_4f/Branch_2/Conv3d_0a_1x1/batch_norm/moving_variance 32 30989504 1756136679
Mixed_4f/Branch_2/Conv3d_0a_1x1/conv_3d/w 1x1x1x528x32 30989632 71652485
Mixed_4f/Branch_2/Conv3d_0b_3x3/batch_norm/beta 128 31057216 4198600487
Mixed_4f/Branch_2/Conv3d_0b_3x3/batch_norm/moving_mean 128 31057728 3997672296
Mixed_4f/Branch_2/Conv3d_0b_3x3/batch_norm/moving_variance 128 31058240 1903315718
Mixed_4f/Branch_2/Conv3d_0b_3x3/conv_3d/w 3x3x3x32x128 31058752 4174320254
Mixed_4f/Branch_3/Conv3d_0b_1x1/batch_norm/beta 128 31501120 3570981518
Mixed_4f/Branch_3/Conv3d_0b_1x1/batch_norm/moving_mean 128 31501632 3997192338
Mixed_4f/Branch_3/Conv3d_0b_1x1/batch_norm/moving_variance 128 31502144 2055804601
Mixed_4f/Branch_3/Conv3d_0b_1x1/conv_3d/w 1x1x1x528x128 31502656 3917231801
Mixed_5b/Branch_0/Conv3d_0a_1x1/batch_norm/beta 256 31772992 4122423676
Mixed_5b/Branch_0/Conv3d_0a_1x1/batch_norm/moving_mean 256 31774016 1270851995
Mixed_5b/Branch_0/Conv3d_0a_1x1/batch_norm/moving_variance 256 31775040 815674801
Mixed_5b/Branch_0/Conv3d_0a_1x1/conv_3d/w 1x1x1x832x256 31776064 2678022527
Mixed_5b/Branch_1/Conv3d_0a_1x1/batch_norm/beta 160 32628032 2933761921
Mixed_5b/Branch_1/Conv3d_0a_1x1/batch_norm/moving_mean 160 32628672 3276315527
Mixed_5b/Branch_1/Conv3d_0a_1x1/batch_norm/moving_variance 160 32629312 1699605284
Mixed_5b/Branch_1/Conv3d_0a_1x1/conv_3d/w 1x1x1x832x160 32629952 2031512330
Mixed_5b/Branch_1/Conv3d_0b_3x3/batch_norm/beta 320 33162432 3957571960
Mixed_5b/Branch_1/Conv3d_0b_3x3/batch_norm/moving_mean 320 33163712 934724351
Mixed_5b/Branch_1/Conv3d_0b_3x3/batch_norm/moving_variance 320 33164992 2577092652
Mixed_5b/Branch_1/Conv3d_0b_3x3/conv_3d/w 3x3x3x160x320 33166272 566109879
Mixed_5b/Branch_2/Conv3d_0a_1x1/batch_norm/beta 32 38695872 4224853651
Mixed_5b/Branch_2/Conv3d_0a_1x1/batch_norm/moving_mean 32 38696000 3054221348
Mixed_5b/Branch_2/Conv3d_0a_1x1/batch_norm/moving_variance 32 38696128 1288976282
Mixed_5b/Branch_2/Conv3d_0a_1x1/conv_3d/w 1x1x1x832x32 38696256 756282475
Mixed_5b/Branch_2/Conv3d_0a_3x3/batch_norm/beta 128 38802752 754039855
Mixed_5b/Branch_2/Conv3d_0a_3x3/batch_norm/moving_mean 128 38803264 953791487
Mixed_5b/Branch_2/Conv3d_0a_3x3/batch_norm/moving_variance 128 38803776 4176156994
Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w 3x3x3x32x128 38804288 2473291068
Mixed_5b/Branch_3/Conv3d_0b_1x1/batch_norm/beta 128 39246656 4252488312
Mixed_5b/Branch_3/Conv3d_0b_1x1/batch_norm/moving_mean 128 39247168 3365961674
Mixed_5b/Branch_3/Conv3d_0b_1x1/batch_norm/moving_variance 128 39247680 868813782
Mixed_5b/Branch_3/Conv3d_0b_1x1/conv_3d/w 1x1x1x832x128 39248192 3987770041
Mixed_5c/Branch_0/Conv3d_0a_1x1/batch_norm/beta 384 39674176 921418498
Mixed_5c/Branch_0/Conv3d_0a_1x1/batch_norm/moving_mean 384 39675712 3032868389
Mixed_5c/Branch_0/Conv3d_0a_1x1/batch_norm/moving_variance 384 39677248 4125198594
Mixed_5c/Branch_0/Conv3d_0a_1x1/conv_3d/w 1x1x1x832x384 39678784 3267314213
Mixed_5c/Branch_1/Conv3d_0a_1x1/batch_norm/beta 192 40956736 2509601452
Mixed_5c/Branch_1/Conv3d_0a_1x1/batch_norm/moving_mean 192 40957504 3071617694
Mixed_5c/Branch_1/Conv3d_0a_1x1/batch_norm/moving_variance 192 40958272 289881605
Mixed_5c/Branch_1/Conv3d_0a_1x1/conv_3d/w 1x1x1x832x192 40959040 3121479580
Mixed_5c/Branch_1/Conv3d_0b_3x3/batch_norm/beta 384 41598016 664378480
Mixed_5c/Branch_1/Conv3d_0b_3x3/batch_norm/moving_mean 384 41599552 1339664402
Mixed_5c/Branch_1/Conv3d_0b_3x3/batch_norm/moving_variance 384 41601088 3736160617
Mixed_5c/Branch_1/Conv3d_0b_3x3/conv_3d/w 3x3x3x192x384 41602624 3665699182
Mixed_5c/Branch_2/Conv3d_0a_1x1/batch_norm/beta 48 49565248 991472477
Mixed_5c/Branch_2/Conv3d_0a_1x1/batch_norm/moving_mean 48 49565440 391498256
Mixed_5c/Branch_2/Conv3d_0a_1x1/batch_norm/moving_variance 48 49565632 2551391406
Mixed_5c/Branch_2/Conv3d_0a_1x1/conv_3d/w 1x1x1x832x48 49565824 2020886373
Mixed_5c/Branch_2/Conv3d_0b_3x3/batch_norm/beta 128 49725568 3136561152
Mixed_5c/Branch_2/Conv3d_0b_3x3/batch_norm/moving_mean 128 49726080 3949753459
Mixed_5c/Branch_2/Conv3d_0b_3x3/batch_norm/moving_variance 128 49726592 640255659
Mixed_5c/Branch_2/Conv3d_0b_3x3/conv_3d/w 3x3x3x48x128 49727104 2090125907
Mixed_5c/Branch_3/Conv3d_0b_1x1/batch_norm/beta 128 50390656 3070981184
Mixed_5c/Branch_3/Conv3d_0b_1x1/batch_norm/moving_mean 128 50391168 1975792019
Mixed_5c/Branch_3/Conv3d_0b_1x1/batch_norm/moving_variance 128 50391680 1195021388
Mixed_5c/Branch_3/Conv3d_0b_1x1/conv_3d/w 1x1x1x832x128 50392192 4269326093
"""

TENSORS = tuple(_entry(line) for line in _LINES.strip().splitlines())
